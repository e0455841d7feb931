"""The removal of withdrawn items from every file of a data folder, step by step, from the captures to Dagster's files.

The same steps count what would change (`apply` false) and change it. A removal that begins writes `state/removal.json`
and deletes it when every file is done, so one that was killed is finished by the next command. Each step may run again:
a file without an item is not touched. Not here: which items go (see selection.py), the command (see forget.py).
"""

import logging
import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import orjson
import yaml

from research_assets.compliance.audit_log import AUDIT_LOG, recorded_exports
from research_assets.compliance.exported_rows import export_cleaner
from research_assets.compliance.exports import ExportRemoval, user_files
from research_assets.compliance.foreign_files import search_file
from research_assets.compliance.other_files import (
    NotRewritten,
    bytes_contain,
    clean_sqlite,
    clean_text_file,
    is_sqlite,
    name_contains,
)
from research_assets.compliance.plan import RECEIPTS, Plan, plan_path
from research_assets.compliance.raw_files import clean_raw_file, is_raw_file, other_raw_files, rebuild_raw_files
from research_assets.compliance.selection import capture_files, is_capture_file
from research_assets.compliance.verification.raw_tables import write_verification_tables
from research_assets.compliance.verification.tasks import journal_path
from research_assets.compliance.verification.verified import drop_verified, verified_path
from research_assets.quota.ledger import stored_ledgers
from research_assets.settings import Settings
from research_assets.storage.capture_rewriting import changes_capture, rewrite_journal, rewrite_sealed
from research_assets.storage.captures import DAMAGED_SUFFIX, DamagedCapture, Manifest, capture_of, manifest_path
from research_assets.storage.files import fsync_folder
from research_assets.storage.listing import all_files, all_paths, matching_paths
from research_assets.storage.parquet_io import temporary_folder
from research_assets.storage.raw_digests import DIGEST_LOG
from research_assets.storage.raw_writer import ensure_tables
from research_assets.storage.withdrawals import Withdrawn, key_path, log_path
from research_assets.storage.withheld import Cleaner, is_withdrawn_unit, unit_text, withhold
from research_assets.warehouse import build, changes, shared_marts
from research_assets.warehouse.dbt_runner import DbtError

_LOGGER = logging.getLogger(__name__)

_SQLITE_PARTS = ("-wal", "-shm", "-journal")
"""Ends of the names of files that belong to a SQLite file."""

_DATABASE_PARTS = ("", ".wal", *_SQLITE_PARTS)


class Removal:
    """One pass over the files of a data folder.

    `counts` are the files by kind and action, `problems` sentences about the files that could not be cleaned, `notes`
    about what the command does not reach, `exports` and `rewritten_exports` the names of exports.
    """

    def __init__(self, settings: Settings, withdrawn: Withdrawn, plan: Plan, *, apply: bool, now: datetime) -> None:
        """`withdrawn` are the withdrawn items; the comments of the plan are added to them."""
        comments = withdrawn.comments | set(plan.comments)
        known = replace(withdrawn, comments=frozenset(comments))
        self._settings, self._plan, self._apply, self._now = settings, plan, apply, now
        self._cleaner = Cleaner(known)
        # A page does not show where a handle is that of a profile, so one with any such handle goes.
        self._strict_cleaner = Cleaner(replace(known, accounts=known.accounts | known.profiles))
        self.counts: dict[str, Counter[str]] = {
            kind: Counter(actions) for kind, actions in (plan.counts if apply else {}).items()
        }
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.exports: list[str] = []
        self.rewritten_exports: list[str] = []

    def run(self) -> None:
        """Clean all files. Raises what a full disk or a lock causes; the next run resumes."""
        for step in (
            self._captures,
            self._raw_tables,
            self._ledger,
            self._verification,
            self._warehouse,
            self._exports,
            self._links,
            self._other_files,
            self._dagster,
        ):
            step()
            self._save()

    def _save(self) -> None:
        if self._apply:
            self._plan.counts = {kind: dict(actions) for kind, actions in self.counts.items()}
            self._plan.save(self._settings.state)

    def _count(self, kind: str, action: str, number: int = 1) -> None:
        self.counts.setdefault(kind, Counter())[action] += number

    def _problem(self, kind: str, message: str) -> None:
        self._count(kind, "not cleaned")
        self.problems.append(message)

    def _cleaning(self, entity: str) -> Callable[[Mapping[str, Any], bytes | None], Any]:
        withdrawn = self._cleaner.withdrawn

        def clean(event: Mapping[str, Any], answer: bytes | None) -> tuple[Mapping[str, Any], bytes | None] | None:
            if event["event"] != "start" and is_withdrawn_unit(entity, event, withdrawn):
                return None
            return withhold(entity, event, answer, withdrawn)

        return clean

    def _captures(self) -> None:
        for path in self._all_captures():
            entity = path.parents[2].name if path.is_relative_to(self._settings.captures) else "videos"
            is_sealed = path.suffix == ".zst"
            try:
                affected = changes_capture(path, self._cleaning(entity))
            except DamagedCapture as error:
                if is_sealed:
                    self._problem("captures", str(error))
                    continue
                # What cannot be read of a journal is requested again in any case, if anything in it must go.
                affected = bytes_contain(path, self._cleaner)
            if not affected:
                continue
            self._count("captures" if is_sealed else "open journals", "rewritten")
            self._add_study(path)
            if not self._apply:
                continue
            if is_sealed:
                # Before the capture changes: after a kill, nothing else shows that its raw files are old.
                if capture_of(path) not in self._plan.captures:
                    self._plan.captures.append(capture_of(path))
                self._plan.rebuild = True
                self._save()
                rewrite_sealed(path, self._cleaning(entity))
            else:
                rewrite_journal(path, self._cleaning(entity))
        for path in sorted(
            all_files(self._settings.captures, f"*{DAMAGED_SUFFIX}", follows=self._settings.is_own_folder)
        ):
            if search_file(path, self._cleaner) != "clean":
                self._remove(path, "damaged copies")

    def _add_study(self, path: Path) -> None:
        study = path.parent.parent.name.removeprefix("study=")
        if study not in self._plan.studies:
            self._plan.studies.append(study)

    def _all_captures(self) -> Iterator[Path]:
        """Yield the captures of the data folder and of its id lists, and remove what killed processes left."""
        files = partial(all_files, follows=self._settings.is_own_folder)
        for folder in (self._settings.captures, *_other_captures(self._settings)):
            for draft in [*files(folder, ".*.jsonl.tmp"), *files(folder, ".*.jsonl.zst.tmp")]:
                if self._apply:
                    draft.unlink(missing_ok=True)
            for sealed in sorted(files(folder, "[!.]*.jsonl.zst")):
                if (journal := sealed.with_suffix("")).exists():
                    # The journal is the valid form: sealing was interrupted. Sealed again, it is without the items.
                    if self._apply and not manifest_path(sealed).exists():
                        sealed.unlink()
                    elif self._apply:
                        journal.unlink()
                elif self._apply and not manifest_path(sealed).exists():
                    _restore_manifest(sealed)
        yield from capture_files(self._settings.captures)
        for folder in _other_captures(self._settings):
            yield from sorted([*all_files(folder, "[!.]*.jsonl.zst"), *all_files(folder, "[!.]*.jsonl")])

    def _raw_tables(self) -> None:
        raw, readable = self._settings.raw, set[str]()
        self._remove_drafts()
        for sealed in capture_files(self._settings.captures):
            if sealed.suffix != ".zst":
                continue
            capture = capture_of(sealed)
            if capture in self._plan.captures:
                readable.add(capture)
                if self._apply:
                    self._count("raw tables", "rewritten", len(rebuild_raw_files(raw, sealed)))
            elif _is_readable(sealed):
                readable.add(capture)
        for path in other_raw_files(raw, readable):
            try:
                affected = clean_raw_file(raw, path, self._cleaner, apply=False)
                if affected and self._apply:
                    self._plan.rebuild = True
                    self._save()
                    clean_raw_file(raw, path, self._cleaner, apply=True)
            except duckdb.Error as error:
                self._problem("raw tables", f"The raw file {path} cannot be read: {str(error).splitlines()[0]}")
                continue
            if affected:
                self._count("raw tables", "rewritten")
        for path in sorted(all_files(raw, f"*{DAMAGED_SUFFIX}", follows=self._settings.is_own_folder)):
            # A columnar file that is damaged cannot be shown to be without the items.
            self._remove(path, "damaged copies")

    def _remove_drafts(self) -> None:
        """Remove what killed processes left in the raw tables and the state."""
        settings = self._settings
        if not self._apply:
            return
        if settings.raw.exists():
            with temporary_folder(settings.raw, "removal"):
                pass
        for folder in (settings.raw, settings.state / "verification"):
            for draft in list(all_files(folder, ".*.tmp", follows=settings.is_own_folder)):
                draft.unlink(missing_ok=True)

    def _ledger(self) -> None:
        settings = self._settings
        for ledger in stored_ledgers(settings, FixedClock(self._now)):
            changed = ledger.rename_units(
                lambda entity, unit: unit_text(self._cleaner, entity, unit), apply=self._apply
            )
            if changed:
                self._count("quota ledger", "rewritten rows", changed)
            is_file = ledger.place == str(settings.ledger)
            if self._apply and (changed or (is_file and bytes_contain(settings.ledger, self._cleaner))):
                ledger.compact()

    def _verification(self) -> None:
        withdrawn = self._cleaner.withdrawn
        accounts = withdrawn.accounts | withdrawn.profiles
        items: dict[str, frozenset[Any]] = {
            "video": withdrawn.videos,
            "comment": withdrawn.comments,
            "account": accounts,
        }
        for kind, ids in items.items():
            if drop_verified(self._settings, kind, ids, apply=self._apply):
                self._count("verification", "rewritten")

    def _warehouse(self) -> None:
        settings = self._settings
        if settings.marts_folder is not None and settings.marts_folder.exists():
            self.notes.append(
                f"The Parquet marts in {settings.marts_folder} were not built by this command. Run `research-assets "
                "spark-build`, which replaces them."
            )
        if not (self._plan.rebuild or self._would_rebuild() or self._has_item_of_other_files()):
            return
        if not settings.warehouse.exists():
            # What the last build left; an unfinished warehouse is removed by the lock of the builds.
            if n_shared := len(shared_marts.shared_files(settings)):
                self._count("shared marts", "removed", n_shared)
            if self._apply:
                for path in (scratch := changes.scratch_path(settings), changes.write_ahead_log(scratch)):
                    path.unlink(missing_ok=True)
                if problem := _remove_shared(settings):
                    self.problems.append(problem)
            return
        self._count("warehouse", "rebuilt")
        if n_shared := len(shared_marts.shared_files(settings)):
            self._count("shared marts", "replaced", n_shared)
        if self._apply:
            if problem := rebuild_warehouse(settings, self._now):
                self.problems.append(problem)
            self._plan.rebuild = False

    def _would_rebuild(self) -> bool:
        return not self._apply and bool(self.counts.keys() & {"captures", "raw tables"})

    def _has_item_of_other_files(self) -> bool:
        """Return whether the warehouse has an item although the raw tables have none.

        They changed since it was built, by hand or because an older warehouse was restored.
        """
        warehouse = self._settings.warehouse
        if not warehouse.exists() or changes.is_built_from_present_files(self._settings):
            return False
        return search_file(warehouse, self._strict_cleaner) != "clean"

    def _exports(self) -> None:
        cleaner = export_cleaner(self._cleaner.withdrawn, self._plan.pseudonyms)
        counts = self.counts.setdefault("exports", Counter())
        exports = ExportRemoval(self._settings, self._plan, self._save, self._apply, counts)
        exports.remove_items(cleaner)
        self.exports, self.rewritten_exports = exports.removed, exports.rewritten
        if not counts:
            del self.counts["exports"]
        for path in sorted(matching_paths(self._settings.exports, "*")):
            if path.name not in exports.removed:
                for file in user_files(path) if path.is_dir() else [path]:
                    self._clean_file(file, "files in exports", cleaner, is_foreign=True)
        present = {path.name for path in matching_paths(self._settings.exports, "*")} | set(self.exports)
        removed = set(self._plan.removed_exports) | _removed_before(self._settings.state / RECEIPTS)
        taken = [
            f"{name} ({at:%Y-%m-%d})" for name, at in recorded_exports(self._settings) if name not in present | removed
        ]
        if taken:
            self.notes.append(
                "These exports were taken out of the data folder. If they contain the items, their copies must be "
                f"deleted: {', '.join(taken)}."
            )

    def _links(self) -> None:
        """Name the links to folders that no step follows: the data folder does not contain their files."""
        settings = self._settings
        root = settings.root.resolve()
        for path in sorted(all_paths(settings.root, follows=settings.is_own_folder)):
            if not path.is_symlink() or not path.is_dir() or settings.is_own_folder(path):
                continue
            if not (target := path.resolve()).is_relative_to(root):
                self._problem(
                    "other files",
                    f"The files in {target}, to which the link {path} leads, were not searched. Check them yourself, "
                    "and remove the link.",
                )

    def _other_files(self) -> None:
        """Clean all files of the data folder that no other step knows."""
        settings = self._settings
        # A user may have copied an export with pseudonyms.
        foreign_cleaner = export_cleaner(self._cleaner.withdrawn, self._plan.pseudonyms)
        for path in sorted(all_files(settings.reports)):
            # The names in a chart are drawn, so no text shows them.
            if path.stem in self._plan.studies or bytes_contain(path, self._strict_cleaner):
                self._remove_page(path)
            elif path.suffix != ".html":
                self._clean_file(path, "other files", foreign_cleaner, is_foreign=True)
        if (settings.dbt_target / "target").exists() and self._is_in_folder(settings.dbt_target / "target"):
            self._count("dbt files", "removed")
            if self._apply:
                shutil.rmtree(settings.dbt_target / "target")
        known = (
            *(settings.reports, settings.exports, settings.dbt_target / "target", settings.dagster_home),
            *(settings.state / RECEIPTS, settings.state / "locks", key_path(settings.state).parent),
        )
        kept = (
            *(log_path(settings.state), settings.state / AUDIT_LOG, plan_path(settings.state)),
            *(journal_path(settings), *(verified_path(settings, kind) for kind in ("video", "comment", "account"))),
        )
        own = (settings.state, settings.raw, settings.captures, *_other_captures(settings))
        databases = (settings.ledger, settings.warehouse, settings.warehouse_build, changes.scratch_path(settings))
        for path in sorted(all_files(settings.root, follows=settings.is_own_folder)):
            if any(path.is_relative_to(folder) for folder in known) or path in kept or self._is_capture_or_raw(path):
                continue
            if any(path == one.with_name(one.name + end) for one in databases for end in _DATABASE_PARTS):
                continue
            is_foreign = not (path == settings.alerts or any(path.is_relative_to(folder) for folder in own))
            self._clean_file(
                path, "other files", foreign_cleaner if is_foreign else self._cleaner, is_foreign=is_foreign
            )

    def _is_capture_or_raw(self, path: Path) -> bool:
        """Return whether a file is of captures or raw tables, which other steps clean."""
        settings = self._settings
        if path.is_relative_to(settings.raw):
            return path.name == DIGEST_LOG or is_raw_file(settings.raw, path)
        if path.is_relative_to(settings.captures):
            is_capture = is_capture_file(settings.captures, path)
        else:
            is_capture = any(path.is_relative_to(one) for one in _other_captures(settings))
        if not is_capture:
            return False
        is_manifest = manifest_path(path.with_suffix(".jsonl.zst")) == path
        return is_manifest or path.name.endswith((".jsonl", ".jsonl.zst", DAMAGED_SUFFIX))

    def _is_in_folder(self, folder: Path) -> bool:
        return any(bytes_contain(path, self._strict_cleaner) for path in all_files(folder))

    def _dagster(self) -> None:
        """Clean the files of the Dagster instance: its SQLite files, the logs of its runs, and all others."""
        home = self._settings.dagster_home
        if not home.is_dir():
            return
        for path in sorted(all_files(home)):
            if path.name in ("dagster.yaml", "dagster.yml", ".lock") or path.name.endswith(_SQLITE_PARTS):
                continue
            self._clean_file(path, "Dagster's files", self._cleaner)
        if _uses_postgres(home):
            self.notes.append(
                "Dagster stores its event log in PostgreSQL, which this command does not read. Delete the runs that "
                "mention the items in Dagster's UI, or the rows in the database."
            )

    def _clean_file(self, path: Path, kind: str, cleaner: Cleaner, *, is_foreign: bool = False) -> None:
        place = path.relative_to(self._settings.root) if path.is_relative_to(self._settings.root) else Path(path.name)
        if name_contains(place, cleaner):
            self._problem(kind, f"The name of {path}, or of its folder, contains an item. Rename or remove it.")
        if path.is_symlink() and not path.resolve().is_relative_to(self._settings.root.resolve()):
            # Rewriting would replace the link by a clean copy, and the file to which it leads would stay.
            if search_file(path, cleaner) != "clean":
                self._problem(
                    kind,
                    f"The file {path.resolve()}, to which the link {path} leads, may contain an item. Clean or "
                    "remove it, and remove the link.",
                )
            return
        try:
            if is_sqlite(path):
                affected: bool | None = clean_sqlite(path, cleaner, apply=self._apply, is_foreign=is_foreign) > 0
            else:
                affected = clean_text_file(path, cleaner, apply=self._apply, is_foreign=is_foreign)
        except sqlite3.Error as error:
            advice = "Remove it, or move it out of the data folder" if is_foreign else "Stop Dagster and repeat"
            self._problem(kind, f"The SQLite file {path} could not be cleaned: {error}. {advice}.")
            return
        except NotRewritten as error:
            self._problem(kind, f"The file {path} {error}. Remove it.")
            return
        if affected:
            self._count(kind, "rewritten")
        elif affected is None:
            verdict = search_file(path, cleaner)
            if verdict == "contains":
                self._problem(
                    kind, f"The file {path} contains an item and is in no format that can be rewritten. Remove it."
                )
            elif verdict == "unknown":
                self._problem(
                    kind,
                    f"The file {path} is in a format that cannot be searched. Delete it, or move it out of the data "
                    "folder and check it yourself.",
                )

    def _remove_page(self, path: Path) -> None:
        if self._apply:
            # Before it goes: after a kill, nothing else shows that the page must be written again.
            self._plan.reports.append(path.stem)
            self._save()
        self._remove(path, "reports")

    def _remove(self, path: Path, kind: str) -> None:
        self._count(kind, "removed")
        if self._apply:
            path.unlink(missing_ok=True)
            fsync_folder(path.parent)


def rebuild_warehouse(settings: Settings, now: datetime) -> str:
    """Build the warehouse from scratch in a new file and publish it; returns why it was removed instead, if it was."""
    reason = ""
    with build.build_lock(settings):
        ensure_tables(settings.raw)
        write_verification_tables(settings)
        try:
            build_input, results = build.build_warehouse(settings, now=now, progress=lambda *_: None, full_refresh=True)
            if failed := [result.name for result in results if result.failed]:
                reason = ", ".join(failed)
            else:
                build.publish_warehouse(settings, build_input)
                return _share_again(settings)
        except (DbtError, build.PublishError) as error:
            reason = str(error)
        settings.warehouse_build.unlink(missing_ok=True)
        for path in (settings.warehouse, changes.write_ahead_log(settings.warehouse)):
            path.unlink(missing_ok=True)
        changes.forget_record(settings)
        not_removed = _remove_shared(settings)
    return (
        f"The warehouse was removed, because it could not be built again: {reason}. Materialize the group "
        f"`warehouse/marts`. {not_removed}".rstrip()
    )


def _share_again(settings: Settings) -> str:
    """Replace all copies of the marts in the shared folder; returns why they were removed instead, if they were."""
    try:
        shared_marts.share_marts(settings, keep_previous=False)
    except shared_marts.SharedMartsError as error:
        return f"{error} {_remove_shared(settings) or 'The earlier copies were removed.'}"
    return ""


def _remove_shared(settings: Settings) -> str:
    """Remove the copies of the marts in the shared folder; returns why they could not be removed, if so."""
    try:
        shared_marts.remove_shared_marts(settings)
    except (shared_marts.SharedMartsError, OSError) as error:
        return f"The copies in {settings.shared_marts} may contain the items; delete them by hand: {error}"
    return ""


@dataclass(frozen=True, slots=True)
class FixedClock:
    """The time of the removal, for the ledger, which reserves nothing here."""

    moment: datetime

    def now(self) -> datetime:
        """Return the time."""
        return self.moment

    def monotonic(self) -> float:
        """Return no progress of time."""
        return 0.0

    async def sleep(self, seconds: float) -> None:
        """Refuse: nothing waits."""
        raise NotImplementedError(f"{seconds} s")


def _restore_manifest(sealed: Path) -> None:
    try:
        Manifest.load(sealed)
    except DamagedCapture as error:
        _LOGGER.warning("%s", error)


def _removed_before(receipts: Path) -> set[str]:
    """Return the exports that earlier removals removed."""
    stored = (orjson.loads(path.read_bytes()) for path in matching_paths(receipts, "*.json"))
    return {name for receipt in stored for name in receipt["removed_exports"]}


def _is_readable(sealed: Path) -> bool:
    try:
        Manifest.load(sealed).verify()
    except DamagedCapture:
        return False
    return True


def _uses_postgres(home: Path) -> bool:
    for name in ("dagster.yaml", "dagster.yml"):
        if (home / name).exists():
            try:
                return "postgres" in str(yaml.safe_load((home / name).read_text(encoding="utf-8"))).lower()
            except (yaml.YAMLError, ValueError):
                return False
    return False


def _other_captures(settings: Settings) -> tuple[Path, ...]:
    """Return the folders with captures of id lists and of random draws."""
    return settings.audits, settings.rehydrated, settings.population
