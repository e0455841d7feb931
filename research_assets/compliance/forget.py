"""Requests for erasure: preview, removal, receipt.

A removal logs the items, cleans every file (see removal.py), and writes a receipt without content to
`state/receipts/`. One that was killed is finished by the next one. Not here: which items go with the named ones (see
selection.py).
"""

import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import orjson

from research_assets.compliance.audit_log import record_command
from research_assets.compliance.plan import RECEIPTS, Plan, plan_path
from research_assets.compliance.removal import Removal
from research_assets.compliance.reports import write_again
from research_assets.compliance.selection import Selection, select_items
from research_assets.compliance.whole_folders import EVERYTHING, FolderRemoval
from research_assets.export.coarse import release_keys
from research_assets.export.pseudonyms import load_or_create_key as load_pseudonym_key
from research_assets.export.pseudonyms import make_pseudonymizer
from research_assets.settings import Settings
from research_assets.storage.files import fsync_folder, private_folder, write_private
from research_assets.storage.locks import lock_all_partitions
from research_assets.storage.withdrawals import (
    FoundBy,
    Kind,
    Withdrawal,
    Withdrawn,
    append_withdrawals,
    hash_handle,
    load_or_create_key,
    log_digest,
    read_withdrawals,
    read_withdrawn,
)
from research_assets.warehouse.build import build_lock


@dataclass(frozen=True, slots=True)
class Preview:
    """Preview of a removal: the items, the files by kind and action, and the removed and rewritten exports.

    `problems` are sentences about unreadable files, `notes` about what the removal does not reach.
    """

    selection: Selection
    counts: Mapping[str, Mapping[str, int]]
    exports: tuple[str, ...]
    rewritten_exports: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]


Scope = Literal["items", "study", "all"]
"""Extent of a removal: items, which all files are searched for, or the files of a study or of the project."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Result of a removal, without content. `items` are the withdrawn items by kind; `path` is the stored receipt.

    `problems` name the files that could not be cleaned; if there are any, the removal is not complete. `notes` say what
    the command does not reach.
    """

    id: str
    scope: Scope
    path: Path
    started_at: datetime
    ended_at: datetime
    items: Mapping[str, int]
    counts: Mapping[str, Mapping[str, int]]
    exports: tuple[str, ...]
    rewritten_exports: tuple[str, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def is_complete(self) -> bool:
        """Return whether every file was cleaned."""
        return not self.problems


def preview_removal(
    settings: Settings,
    now: datetime,
    *,
    handles: Iterable[str] = (),
    videos: Iterable[int] = (),
    comments: Iterable[int] = (),
) -> Preview:
    """Return what `remove_items` would do; changes nothing. Raises RunInProgress or BuildInProgress."""
    with _nothing_else_runs(settings):
        selection = select_items(settings, handles=handles, videos=videos, comments=comments)
        # A key of its own: the preview of a request leaves no trace.
        key = secrets.token_bytes(32)
        withdrawn = Withdrawn(
            selection.videos,
            selection.comments,
            frozenset(hash_handle(key, handle) for handle in selection.handles | selection.pseudonyms),
            key,
        )
        plan = _new_plan(settings, selection, key, now)
        removal = Removal(settings, withdrawn, plan, apply=False, now=now)
        removal.run()
        return _preview(selection, removal)


def remove_items(
    settings: Settings,
    now: Callable[[], datetime],
    *,
    handles: Iterable[str] = (),
    videos: Iterable[int] = (),
    comments: Iterable[int] = (),
    found_by: FoundBy = "forgotten",
    command: str = "forget",
) -> list[Receipt]:
    """Withdraw items and remove them from every file; returns the receipts: of an unfinished one first, if any.

    A removal is unfinished if it was interrupted, or if a file could not be cleaned; the latter ends with the new one.
    Of accounts that a look-up did not find, only the profiles and lists go, and they may be collected again: the
    account has not objected, and its videos are verified by their ids. Without items, only an unfinished removal is
    repeated. Raises RunInProgress or BuildInProgress if a run or a build is in progress, WithdrawalError if the key of
    the log is lost, and OSError if the disk fails; the next call resumes.
    """
    receipts = []
    handles, videos, comments = list(handles), list(videos), list(comments)
    is_new = bool(handles or videos or comments)
    with _nothing_else_runs(settings):
        unfinished = Plan.load(settings.state)
        if unfinished is not None and not (is_new and unfinished.has_problems):
            receipts.append(_carry_out(settings, unfinished, now, command))
            unfinished = Plan.load(settings.state)
        if is_new:
            selection = select_items(
                settings, handles=handles, videos=videos, comments=comments, only_profiles=found_by == "lookup"
            )
            key = load_or_create_key(settings.state)
            plan = _new_plan(settings, selection, key, now(), found_by)
            if unfinished is not None:
                plan.absorb(unfinished)
            private_folder(settings.state)
            plan.save(settings.state)
            receipts.append(_carry_out(settings, plan, now, command))
    return receipts


def preview_folder_removal(settings: Settings, now: datetime, study: str) -> Preview:
    """Return what `remove_folder` would do; changes nothing. Raises RunInProgress or BuildInProgress."""
    with _nothing_else_runs(settings):
        removal = FolderRemoval(settings, _folder_plan(study, now), apply=False, now=now)
        removal.run()
        return _preview(Selection(), removal)


def _preview(selection: Selection, removal: Removal | FolderRemoval) -> Preview:
    return Preview(
        selection,
        removal.counts,
        tuple(removal.exports),
        tuple(removal.rewritten_exports),
        tuple(removal.problems),
        tuple(removal.notes),
    )


def remove_folder(settings: Settings, now: Callable[[], datetime], study: str) -> list[Receipt]:
    """Remove all files of a study, or the whole data folder (`EVERYTHING`); returns receipts as `remove_items`.

    Rows that another study has as well stay with that study.
    """
    with _nothing_else_runs(settings):
        unfinished = Plan.load(settings.state)
        receipts = [_carry_out(settings, unfinished, now, "forget")] if unfinished is not None else []
        unfinished = Plan.load(settings.state)
        plan = _folder_plan(study, now())
        plan.save(settings.state)
        scope = "all" if study == EVERYTHING else f"study {study}"
        receipts.append(_carry_out(settings, plan, now, f"forget --{scope}"))
        if unfinished is not None and study != EVERYTHING:
            unfinished.save(settings.state)
        return receipts


def _folder_plan(study: str, now: datetime) -> Plan:
    return Plan(receipt=_receipt_id(now), started_at=now, items=[], study=study)


def _receipt_id(now: datetime) -> str:
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(4)}"


def _carry_out(settings: Settings, plan: Plan, now: Callable[[], datetime], command: str) -> Receipt:
    """Log the items of a plan, clean all files, and write the receipt; each part may have happened before."""
    state = settings.state
    logged = {(one.kind, one.id) for one in read_withdrawals(state) if one.is_permanent or one.receipt == plan.receipt}
    items = [Withdrawal(one["kind"], one["id"], plan.started_at, one["found_by"], plan.receipt) for one in plan.items]
    append_withdrawals(state, [one for one in items if (one.kind, one.id) not in logged])
    for actions in plan.counts.values():
        # Counted again by this pass.
        actions.pop("not cleaned", None)
    removal: Removal | FolderRemoval
    if plan.study:
        removal = FolderRemoval(settings, plan, apply=True, now=now())
    else:
        withdrawn = read_withdrawn(state)
        if profiles := frozenset(plan.profiles):
            withdrawn = replace(withdrawn, profiles=profiles, key=load_or_create_key(state), _remembered={})
        removal = Removal(settings, withdrawn, plan, apply=True, now=now())
    removal.run()
    left: list[str] = []
    if plan.reports:
        left = write_again(settings, plan.reports, now())
        removal.counts["reports"] += Counter(
            {"written again": len(set(plan.reports)) - len(left), "not written again": len(left)}
        )
    kinds = [one["kind"] for one in plan.items]
    receipt = Receipt(
        id=plan.receipt,
        scope="items" if not plan.study else "all" if plan.study == EVERYTHING else "study",
        path=state / RECEIPTS / f"{plan.receipt}.json",
        started_at=plan.started_at,
        ended_at=now(),
        items={
            kind: kinds.count(kind) - (plan.n_pseudonyms if kind == "account" else 0)
            for kind in ("account", "video", "comment")
            if kind in kinds
        }
        | ({"comment with them": len(plan.comments)} if plan.comments else {}),
        counts=removal.counts,
        exports=tuple(dict.fromkeys((*plan.removed_exports, *removal.exports))),
        # One that could not be rewritten was removed.
        rewritten_exports=tuple(name for name in plan.rewritten_exports if name not in plan.removed_exports),
        problems=tuple(removal.problems),
        notes=tuple(removal.notes),
    )
    private_folder(state / RECEIPTS)
    write_private(receipt.path, orjson.dumps(_to_json(settings, receipt), option=orjson.OPT_INDENT_2))
    record_command(settings, command, now(), receipt=receipt.id)
    if receipt.is_complete or plan.study:
        plan_path(state).unlink(missing_ok=True)
        fsync_folder(state)
    else:
        plan.has_problems, plan.reports = True, left
        plan.save(state)
    return receipt


def _to_json(settings: Settings, receipt: Receipt) -> dict[str, Any]:
    return {
        "receipt": receipt.id,
        "started_at": receipt.started_at.astimezone(UTC),
        "ended_at": receipt.ended_at.astimezone(UTC),
        "scope": receipt.scope,
        "complete": receipt.is_complete,
        "items": receipt.items,
        "files": receipt.counts,
        "removed_exports": receipt.exports,
        "rewritten_exports": receipt.rewritten_exports,
        "not_cleaned": len(receipt.problems),
        "not_reached": len(receipt.notes),
        "withdrawals_sha256": log_digest(settings.state),
    }


def _new_plan(
    settings: Settings, selection: Selection, key: bytes, now: datetime, found_by: FoundBy = "forgotten"
) -> Plan:
    items: list[tuple[Kind, int | str]] = [
        *(("account", hash_handle(key, handle)) for handle in sorted(selection.handles | selection.pseudonyms)),
        *(("video", video) for video in sorted(selection.videos)),
        *(("comment", comment) for comment in sorted(selection.comments)),
    ]
    return Plan(
        receipt=_receipt_id(now),
        started_at=now,
        items=[{"kind": kind, "id": identifier, "found_by": found_by} for kind, identifier in items],
        comments=sorted(selection.comments_with_them),
        n_pseudonyms=len(selection.pseudonyms),
        profiles=[
            str(identifier)
            for kind, identifier in items
            if not Withdrawal(kind, identifier, now, found_by, "").is_permanent
        ],
        pseudonyms=_pseudonyms(settings, selection),
    )


def _pseudonyms(settings: Settings, selection: Selection) -> list[str]:
    """Return the pseudonyms of the items in exports; none if the project has no key, so no export with pseudonyms."""
    found = []
    for path in (settings.export_key, *release_keys(settings)):
        if not path.exists() or not path.stat().st_size:
            continue
        pseudonym = make_pseudonymizer(load_pseudonym_key(path))
        found += [
            *(pseudonym("user", handle) for handle in selection.handles | selection.pseudonyms),
            *(pseudonym("video", str(video)) for video in selection.videos),
            *(pseudonym("comment", str(one)) for one in selection.comments | selection.comments_with_them),
        ]
    return sorted(found)


@contextmanager
def _nothing_else_runs(settings: Settings) -> Iterator[None]:
    """Exclude collecting runs for the block. Raises RunInProgress, or BuildInProgress if a build runs now."""
    with lock_all_partitions(settings.state):
        with build_lock(settings):
            # The build of the removal takes the lock again.
            pass
        yield
