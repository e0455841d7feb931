"""The accounts with a stored profile, and the time at which each was last seen: collected, or verified.

The functions are those of held.py for ids. Not here: accounts that are known from videos or follow lists alone, which
are not verified.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import NamedTuple

from research_assets.compliance.selection import VIDEO_ENTITIES
from research_assets.compliance.verification.verified import drop_verified, read_verified, verified_path
from research_assets.settings import Settings
from research_assets.storage.captures import DamagedCapture, read_events
from research_assets.storage.listing import matching_paths
from research_assets.storage.raw_reader import RawTables, query_raw
from research_assets.storage.withdrawals import hash_handle, load_or_create_key, read_withdrawn
from research_assets.study.loader import load_valid_studies
from research_assets.tiktok.pseudonyms import Pseudonyms, is_pseudonym


class HeldAccount(NamedTuple):
    """An account with a stored profile: its handle in lower case, and when it was last seen (UTC)."""

    handle: str
    last: datetime


def held_accounts(settings: Settings, excluded: Collection[str] = ()) -> list[HeldAccount]:
    """Return the accounts with a stored profile without withdrawn and excluded ones, those seen longest ago first."""
    sql = (
        "SELECT lower(asked_username), max(observed_at)::TIMESTAMPTZ FROM {table} WHERE asked_username <> '' GROUP BY 1"
    )
    rows = query_raw(settings.raw, "users", "study=*/day=*", sql)
    withdrawn, without = read_withdrawn(settings.state), set(excluded)
    stored = {handle: at.astimezone(UTC) for handle, at in rows}
    verified = read_verified(settings, "account")
    hashes = hashed(settings, stored) if verified else {}
    found = [
        HeldAccount(handle, max(at, verified.get(hashes.get(handle, ""), at)))
        for handle, at in stored.items()
        if handle not in without and not withdrawn.has_account(handle)
    ]
    return sorted(found, key=lambda one: (one.last, one.handle))


def requestable_accounts(settings: Settings) -> list[HeldAccount]:
    """Return the accounts of `held_accounts` without pseudonyms whose handle no study file lists."""
    accounts = held_accounts(settings)
    if not any(is_pseudonym(one.handle) for one in accounts):
        return accounts
    listed = listed_pseudonyms(settings)
    return [one for one in accounts if not is_pseudonym(one.handle) or one.handle in listed]


def listed_pseudonyms(settings: Settings) -> dict[str, Pseudonyms]:
    """Return the accounts of pseudonymous studies that can be requested: those that a study file lists, by pseudonym.

    Without the key there is none.
    """
    studies = load_valid_studies(settings)
    return {name: one.pseudonyms for one in studies if one.pseudonyms is not None for name in one.panel}


def hashed(settings: Settings, handles: Iterable[str]) -> dict[str, str]:
    """Return the keyed hash of each handle."""
    key = load_or_create_key(settings.state)
    return {handle: hash_handle(key, handle) for handle in handles}


def accounts_by_day(accounts: Iterable[HeldAccount], start: datetime) -> dict[int, int]:
    """Return the number of accounts by the days from `start` to when they were last seen; 0 for earlier ones."""
    return dict(Counter(max(0, ceil((one.last - start) / timedelta(days=1))) for one in accounts))


def accounts_last_seen(settings: Settings, handles: Iterable[str]) -> dict[str, datetime]:
    """Return when each of some accounts was last collected or verified (UTC); those without a profile are absent.

    Profiles in open journals count as collected.
    """
    wanted = set(handles)
    seen = {one.handle: one.last for one in held_accounts(settings) if one.handle in wanted}
    for path in matching_paths(settings.captures, "users/study=*/*/[!.]*.jsonl"):
        try:
            for event in read_events(path):
                handle = str(event.get("unit", "")).lower()
                if event["event"] == "page" and event.get("rows") and handle in seen:
                    seen[handle] = max(seen[handle], datetime.fromisoformat(event["observed_at"]))
        except (DamagedCapture, FileNotFoundError):
            continue
    return seen


def videos_of(settings: Settings, handles: Iterable[str]) -> list[int]:
    """Return the ids of the stored videos of some accounts."""
    rows = " UNION ".join(
        f"SELECT id FROM {{{table}}} WHERE id IS NOT NULL AND lower(username) IN (SELECT unnest($1::VARCHAR[]))"
        for table in VIDEO_ENTITIES
    )
    with RawTables(settings.raw) as raw:
        return [row[0] for row in raw.join(dict.fromkeys(VIDEO_ENTITIES, "study=*/day=*"), rows, [sorted(handles)])]


def drop_unknown_accounts(settings: Settings, *, apply: bool) -> int:
    """Remove the verified accounts without a stored profile; returns their number."""
    if not verified_path(settings, "account").exists():
        return 0
    stored = set(hashed(settings, [one.handle for one in held_accounts(settings)]).values())
    unknown = read_verified(settings, "account").keys() - stored
    return drop_verified(settings, "account", unknown, apply=apply)
