"""Removal of withdrawn items, or of a study, from the exports in the data folder.

The tables of an export are rewritten one after another, and its manifest last. Until then the checksums in the manifest
show that the removal is not finished, and the plan of the removal names the export, so the next run finishes it. An
export that cannot be rewritten is removed. Not here: which rows go (see exported_rows.py), how a table is written (see
export/rewriting.py), files that a user put beside the exports (see removal.py).
"""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from research_assets.compliance.exported_rows import item_rule, study_rule
from research_assets.compliance.foreign_files import search_file
from research_assets.compliance.other_files import bytes_contain
from research_assets.compliance.plan import Plan
from research_assets.export.archive import ARCHIVE_FILES
from research_assets.export.build import MANIFEST, README, read_export, record_removal
from research_assets.export.changes import Changes, MakeRule, Rule
from research_assets.export.coarse import DISCLOSURE, release_key
from research_assets.export.columns import OWN_MARTS
from research_assets.export.readme import map_conditions
from research_assets.export.request import Export, ExportError
from research_assets.export.rewriting import RewritingError, find_changes, write_changes
from research_assets.report.codebook import map_examples
from research_assets.settings import Settings
from research_assets.storage.files import fsync_folder, private_folder, publish_file, write_private
from research_assets.storage.listing import all_files, matching_paths
from research_assets.storage.withheld import Cleaner

CODEBOOK = "codebook.html"
OWN_FILES = frozenset({MANIFEST, README, CODEBOOK, "codebook.csv", DISCLOSURE, *ARCHIVE_FILES})
"""Files of an export beside its tables. `codebook.csv` and the files for archives contain no value of a row."""

FILES_REWRITTEN = "files rewritten"


@dataclass(slots=True)
class ExportRemoval:
    """One pass over the exports; `counts` are the rewritten files and the removed exports.

    `save` stores the plan, with the counts. With `apply` false nothing is written.
    """

    settings: Settings
    plan: Plan
    save: Callable[[], None]
    apply: bool
    counts: Counter[str]
    removed: list[str] = field(default_factory=list)
    rewritten: list[str] = field(default_factory=list)

    def remove_items(self, cleaner: Cleaner) -> None:
        """Remove the rows of withdrawn items from all exports; an unreadable export that may contain one is removed."""
        make_rule = partial(item_rule, cleaner)
        for folder in self._folders():
            export = _read(folder)
            if export is None:
                if _was_export(folder) and any(search_file(path, cleaner) != "clean" for path in _files(folder)):
                    self._remove(folder)
                continue
            if export.request.coarse and not release_key(self.settings, folder.name).is_file():
                # Without the key of the release nobody can tell whether it contains the item.
                self._remove(folder)
                continue
            texts = {
                README: lambda text: cleaner.text(map_conditions(text, cleaner.condition)),
                CODEBOOK: lambda page: cleaner.text(map_examples(page, cleaner.message)),
            }
            try:
                self._rewrite(export, _changes(export, make_rule, cleaner), make_rule, texts)
            except RewritingError:
                self._remove(folder)

    def remove_study(self, study: str) -> None:
        """Remove the rows of a study from exports of several studies, and exports of this study alone."""
        for folder in self._folders():
            export = _read(folder)
            if export is None and not _was_export(folder):
                continue
            named = set(export.request.studies) if export is not None else set()
            if export is None or (named and not named - {study} - {one.study for one in export.removals}):
                self._remove(folder)
                continue
            if named and study not in named:
                continue
            try:
                changes = {}
                for path, mart in _tables(export):
                    changes[path] = find_changes(path, _study_rule(study, mart))
                own = {path for path, mart in _tables(export) if mart in OWN_MARTS}
                of_studies = [one for path, one in changes.items() if path not in own]
                is_unfinished = self._is_unfinished(export)
                if not is_unfinished and not any(one.removed for one in of_studies):
                    continue
                if not any(one.rows > len(one.removed) for one in of_studies):
                    self._remove(folder)
                    continue
                self._rewrite(
                    export,
                    changes,
                    partial(study_rule, study),
                    {CODEBOOK: lambda page: map_examples(page, lambda _: "")},
                    study,
                )
            except RewritingError:
                self._remove(folder)

    def _folders(self) -> Iterator[Path]:
        drafts = self._drafts
        # An export of which a killed removal deleted the manifest only looks like a folder of a user.
        for unfinished in (drafts, *(self.settings.exports / name for name in self.plan.removed_exports)):
            if self.apply and unfinished.exists():
                shutil.rmtree(unfinished)
        folders = (path for path in matching_paths(self.settings.exports, "*") if path.is_dir())
        yield from sorted(path for path in folders if path != drafts)
        if self.apply and drafts.exists():
            shutil.rmtree(drafts)

    @property
    def _drafts(self) -> Path:
        return self.settings.exports / ".removal.tmp"

    def _is_unfinished(self, export: Export) -> bool:
        """Return whether this removal began to rewrite an export and was killed before it wrote the manifest."""
        return export.folder.name in self.plan.rewritten_exports and all(
            one.at != self.plan.started_at for one in export.removals
        )

    def _rewrite(
        self,
        export: Export,
        changes: dict[Path, Changes],
        make_rule: MakeRule,
        texts: dict[str, Callable[[str], str]],
        study: str = "",
    ) -> None:
        """Rewrite the tables with changes and the texts of an export; raises RewritingError if that fails."""
        folder = export.folder
        new_texts = {
            path: new
            for path, change in ((folder / name, change) for name, change in texts.items())
            if path.exists() and (new := change(old := path.read_text(encoding="utf-8"))) != old
        }
        affected = [path for path, one in changes.items() if one]
        if not affected and not new_texts and not self._is_unfinished(export):
            return
        self.rewritten.append(folder.name)
        if folder.name not in self.plan.rewritten_exports:
            self.counts[FILES_REWRITTEN] += len(affected) + len(new_texts)
            self.plan.rewritten_exports.append(folder.name)
        if not self.apply:
            return
        # Before the first file changes: after a kill, nothing else shows that the manifest is old.
        self.save()
        for path in affected:
            draft = write_changes(path, changes[path], private_folder(self._drafts))
            if find_changes(draft, make_rule):
                raise RewritingError(f"The table {path} still contains an item after it was rewritten")
            publish_file(draft, path)
        for path, text in new_texts.items():
            write_private(path, text.encode())
        rows = {path.relative_to(folder).as_posix(): one.rows - len(one.removed) for path, one in changes.items()}
        record_removal(export, rows, self.plan.started_at, study=study)

    def _remove(self, folder: Path) -> None:
        self.counts["removed"] += 1
        self.removed.append(folder.name)
        if self.apply:
            self.plan.removed_exports.append(folder.name)
            self.save()
            shutil.rmtree(folder)
            release_key(self.settings, folder.name).unlink(missing_ok=True)
            fsync_folder(folder.parent)


def user_files(folder: Path) -> list[Path]:
    """Return the files in a folder of the exports that a user put there."""
    export = _read(folder)
    if export is None:
        return [] if _was_export(folder) else _files(folder)
    own = {folder / name for name in OWN_FILES} | {path for path, _ in _tables(export)}
    return [path for path in _files(folder) if path not in own]


def _was_export(folder: Path) -> bool:
    """Return whether a folder that is no readable export has a damaged manifest, or is of a process that was killed."""
    return (folder / MANIFEST).exists() or folder.name.startswith(".")


def _read(folder: Path) -> Export | None:
    """Return the export in a folder; None if it is no export, or its manifest cannot be read."""
    try:
        return read_export(folder) if not folder.name.startswith(".") else None
    except (ExportError, OSError):
        return None


def _tables(export: Export) -> list[tuple[Path, str]]:
    """Return the paths of the tables that are still in the folder, with their marts."""
    paths = [(export.folder / one.path, one.mart) for one in export.files]
    return [(path, mart) for path, mart in paths if path.is_file()]


def _files(folder: Path) -> list[Path]:
    return sorted(all_files(folder))


def _changes(export: Export, make_rule: MakeRule, cleaner: Cleaner) -> dict[Path, Changes]:
    """Return the changes of each table. Raises RewritingError if one cannot be read and may contain an item."""
    found = {}
    for path, _ in _tables(export):
        try:
            found[path] = find_changes(path, make_rule)
        except RewritingError:
            # A spreadsheet program may have saved it in another form, which is still a text.
            if path.suffix != ".csv" or bytes_contain(path, cleaner):
                raise
    return found


def _study_rule(study: str, mart: str) -> MakeRule:
    def make(names: Sequence[str]) -> Rule:
        if "study" not in names and mart not in OWN_MARTS:
            raise RewritingError(f"The table {mart or 'ids'} does not say to which study its rows belong")
        return study_rule(study, names)

    return make
