"""Rules for the rows of exported tables: which rows go with withdrawn items or with a study, and which texts change.

The columns decide, by their names, which are the same in every format: keys of videos, comments and accounts, lists of
mentions, units of the coverage, quoted messages. In every other text, mentions and ids are replaced as in captures.
Not here: reading and writing tables (see export/rewriting.py), which exports there are (see exports.py).
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from research_assets.export.changes import Rule
from research_assets.export.network_files import contents_values
from research_assets.storage.withdrawals import Withdrawn
from research_assets.storage.withheld import ID_DIGITS, REMOVED, Cleaner, is_withdrawn_unit, unit_text

_PSEUDONYM = re.compile(r"@?((?:user|video|comment)_[0-9a-f]{20})")
_MENTION_OR_ID = re.compile(rf"@|%40|\d{{{ID_DIGITS}}}|_[0-9a-f]{{20}}")
"""Quick test: a text without a match mentions nothing. Most texts have none."""

_SHARE_COLUMNS = ("account_id", "object_id")
"""Columns of shares for CooRTweet that contain accounts."""

_ANY_WORD = frozenset({"reason", "examples", "unit", "mentions"})
"""Columns in which a handle has no `@`."""


@dataclass(frozen=True, slots=True)
class _PseudonymousWithdrawn(Withdrawn):
    """Withdrawn items of a removal with their pseudonyms, which are all of accounts or all of profiles."""

    exported: frozenset[str] = frozenset()

    def has_account(self, handle: object) -> bool:
        return handle in self.known_everywhere or Withdrawn.has_account(self, handle)

    def has_profile(self, handle: object) -> bool:
        return handle in self.exported or Withdrawn.has_profile(self, handle)

    @property
    def known_everywhere(self) -> frozenset[str]:
        return frozenset() if self.profiles else self.exported


@dataclass(frozen=True, slots=True)
class _PseudonymousCleaner(Cleaner):
    """A cleaner that knows the items also under the pseudonyms of exports."""

    withdrawn: _PseudonymousWithdrawn

    def text(self, text: str) -> str:
        if "_" in text:
            text = _PSEUDONYM.sub(lambda m: REMOVED if m[1] in self.withdrawn.known_everywhere else m[0], text)
        return Cleaner.text(self, text)

    def is_id(self, value: object) -> bool:
        return (isinstance(value, str) and value in self.withdrawn.known_everywhere) or Cleaner.is_id(self, value)


def export_cleaner(withdrawn: Withdrawn, pseudonyms: Collection[str]) -> Cleaner:
    """Return the cleaner for exports, in which the items may have pseudonyms."""
    if not pseudonyms:
        return Cleaner(withdrawn)
    return _PseudonymousCleaner(
        _PseudonymousWithdrawn(
            withdrawn.videos,
            withdrawn.comments,
            withdrawn.accounts,
            withdrawn.key,
            profiles=withdrawn.profiles,
            exported=frozenset(pseudonyms),
        )
    )


def item_rule(cleaner: Cleaner, names: Sequence[str]) -> Rule:
    """Return the rule that removes the rows of withdrawn items, and what mentions them in other rows."""
    ids = [at for at, name in enumerate(names) if name == "id" or name.endswith("_id")]
    accounts = [at for at, name in enumerate(names) if name.endswith("username") or name in _SHARE_COLUMNS]
    contents = names.index("contents") if "contents" in names else None
    shared = names.index("object_id") if "object_id" in names else None
    profiles = _profile_columns(names)
    any_word = _ANY_WORD if "entity" in names else _ANY_WORD - {"unit"}
    others = [
        (at, name, name in any_word)
        for at, name in enumerate(names)
        if at not in ids and at not in accounts and at != contents
    ]
    unit, entity, kind, element = (
        names.index(name) if name in names else None for name in ("unit", "entity", "unit_kind", "value_json")
    )

    def rule(row: Sequence[Any]) -> Mapping[str, Any] | None:
        for at in ids:
            if row[at] is not None and cleaner.is_id(row[at]):
                return None
        for at in accounts:
            if cleaner.withdrawn.has_account(row[at]):
                return None
        if any(cleaner.withdrawn.has_profile(row[at]) for at in profiles):
            return None
        of = str(row[entity]) if entity is not None else ""
        if kind is not None and row[kind] == "account":
            # A list of accounts, as the units of searches are.
            of = "videos"
        # Without an entity it is a unit of measurement.
        if unit is not None and entity is not None and row[unit]:
            event = {"unit": row[unit], "unit_kind": row[kind] if kind is not None else None}
            if cleaner.is_id(row[unit]) or is_withdrawn_unit(of, event, cleaner.withdrawn):
                return None
        if element is not None and cleaner.is_withdrawn_record(of, _parsed(row[element])):
            return None
        if shared is not None and cleaner.text(row[shared]) != row[shared]:
            # A link to the account or the video.
            return None
        new: dict[str, Any] = {}
        if contents is not None and row[contents]:
            videos = row[contents].split(" ")
            kept = [video for video in videos if not cleaner.is_id(video.partition("@")[0])]
            if not kept:
                return None
            if len(kept) < len(videos):
                new = contents_values(kept)
        for at, name, is_any_word in others:
            value = row[at]
            if not value or isinstance(value, int):
                continue
            if not is_any_word and isinstance(value, str) and not _MENTION_OR_ID.search(value):
                continue
            cleaned = unit_text(cleaner, of, value) if at == unit else _cleaned(cleaner, name, value)
            if cleaned is not value and cleaned != value:
                new[name] = cleaned
        return new

    return rule


def _profile_columns(names: Sequence[str]) -> list[int]:
    """Return the columns with the account of a profile or of a list, in the tables that have its data."""
    if "source_username" in names:
        return [names.index("source_username"), names.index("target_username")]
    if "username" in names and ("video_username" in names or "video_id" not in names):
        return [names.index("username")]
    return []


def _cleaned(cleaner: Cleaner, name: str, value: Any) -> Any:
    if name == "mentions":
        mentions = _parsed(value)
        if isinstance(mentions, list):
            kept = [one for one in mentions if not cleaner.withdrawn.has_account(one)]
            if len(kept) < len(mentions):
                # A list is JSON where the format has no lists.
                value = orjson.dumps(kept).decode() if isinstance(value, str) else kept
    if isinstance(value, str):
        return cleaner.message(value) if name in ("reason", "examples") else cleaner.text(value)
    return cleaner.value(value)


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return orjson.loads(value)
    except ValueError:
        return None


def study_rule(study: str, names: Sequence[str]) -> Rule:
    """Return the rule that removes the rows of a study; examples of values, which are of all studies, become empty."""
    at = names.index("study") if "study" in names else None
    examples = names.index("examples") if "examples" in names else None

    def rule(row: Sequence[Any]) -> Mapping[str, Any] | None:
        if at is not None and row[at] == study:
            return None
        return {"examples": None} if examples is not None and row[examples] else {}

    return rule
