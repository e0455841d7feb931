"""Removal of all files of one study, or of the whole data folder, for the end of a project or of its approval.

The ledger stays, so that the quota of the day is still known, without the names of its units. Not here: the removal of
single items (see removal.py).
"""

import shutil
from collections import Counter
from datetime import datetime
from pathlib import Path

from research_assets.compliance.audit_log import AUDIT_LOG
from research_assets.compliance.exports import ExportRemoval
from research_assets.compliance.plan import RECEIPTS, Plan, plan_path
from research_assets.compliance.removal import FixedClock, rebuild_warehouse
from research_assets.compliance.verification.held import drop_unknown
from research_assets.compliance.verification.planning import cancel_tasks
from research_assets.quota.ledger import stored_ledgers
from research_assets.report.paths import board_path, report_path
from research_assets.settings import FOLDER_ID, Settings
from research_assets.storage.files import fsync_folder
from research_assets.storage.listing import all_files, all_paths, matching_paths
from research_assets.storage.pseudonym_keys import record_path
from research_assets.storage.withdrawals import key_path, log_path
from research_assets.storage.withheld import REMOVED
from research_assets.study.provenance import provenance_path
from research_assets.warehouse.shared_marts import SharedMartsError, remove_shared_marts, shared_files

EVERYTHING = "*"
"""Name of the study of a plan that removes the whole data folder; no study can have it."""


class FolderRemoval:
    """One pass over the files of a study; counts, problems and exports as in `Removal`."""

    def __init__(self, settings: Settings, plan: Plan, *, apply: bool, now: datetime) -> None:
        """The study is that of the plan."""
        self._settings, self._plan, self._apply, self._now = settings, plan, apply, now
        self.counts: dict[str, Counter[str]] = {}
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.exports: list[str] = []
        self.rewritten_exports: list[str] = []

    def run(self) -> None:
        """Remove the files. It may run again after it was interrupted."""
        if self._plan.study == EVERYTHING:
            self._remove_everything()
        else:
            self._remove_study()
        self._rename_units()

    def _remove_study(self) -> None:
        settings, study = self._settings, self._plan.study
        for kind, folder in (("captures", settings.captures), ("raw tables", settings.raw)):
            for path in sorted(matching_paths(folder, f"*/study={study}")):
                self._remove(kind, path)
        for folder in (settings.audits, settings.rehydrated, settings.population):
            self._remove("id lists", folder / study)
            for path in sorted(matching_paths(folder, f"captures/*/study={study}")):
                self._remove("id lists", path)
        if self._apply:
            drop_unknown(settings, apply=True)
            cancel_tasks(settings, self._now)
        self._remove("key records", record_path(settings, study))
        self._remove("study records", provenance_path(settings, study))
        # The codebook has examples of all studies. The next report writes it again.
        pages = (report_path(settings, study), board_path(settings, study))
        for path in (*pages, *sorted(matching_paths(settings.reports, "*codebook*"))):
            self._remove("reports", path)
        counts = self.counts.setdefault("exports", Counter(self._plan.counts.get("exports", {})))
        exports = ExportRemoval(settings, self._plan, self._save, self._apply, counts)
        exports.remove_study(study)
        self.exports, self.rewritten_exports = exports.removed, exports.rewritten
        if not counts:
            del self.counts["exports"]
        if settings.warehouse.exists():
            self.counts["warehouse"] = Counter(rebuilt=1)
            if self._apply and (problem := rebuild_warehouse(settings, self._now)):
                self.problems.append(problem)
        else:
            self._remove_shared_marts()
        self.notes.append(f"Delete the file that declares the study {study}; otherwise it is collected again.")
        self.notes.append(
            f"Files that you put into {settings.root} and the messages in {settings.alerts.name} were not searched for "
            "rows of the study. Delete those that have some."
        )
        if settings.dagster_home.is_dir():
            self.notes.append(
                "Dagster's event log may quote rows of the study in the metadata of its runs. Delete the runs of the "
                "study in Dagster's UI."
            )

    def _remove_everything(self) -> None:
        settings = self._settings
        state, home = settings.state, settings.dagster_home
        kept = (
            *(log_path(state), key_path(state), state / RECEIPTS, state / AUDIT_LOG, plan_path(state)),
            *(state / "origin", state / "locks", state / FOLDER_ID, home / "dagster.yaml", home / "dagster.yml"),
            *(settings.ledger.with_name(settings.ledger.name + end) for end in ("", "-wal", "-shm")),
        )
        outside = []
        for path in sorted(all_paths(settings.root, follows=settings.is_own_folder)):
            is_link = path.is_symlink() and not settings.is_own_folder(path)
            if is_link and not path.resolve().is_relative_to(settings.root.resolve()):
                outside.append(f"{path.resolve()} (link {path.relative_to(settings.root)})")
            if path.is_file() and not any(path == one or path.is_relative_to(one) for one in kept):
                self._remove("files", path)
        if outside:
            self.notes.append(
                f"Links lead out of the data folder. What they lead to was not removed: {', '.join(outside)}."
            )
        if (marts := settings.marts_folder) is not None and marts.exists() and not marts.is_relative_to(settings.root):
            self.notes.append(f"The Parquet marts in {marts} were not removed. Delete them.")
        self._remove_shared_marts()
        if not home.is_relative_to(settings.root):
            self.notes.append(f"Dagster's home {home} is outside of the data folder and was not removed. Delete it.")
        if self._apply:
            below = all_paths(settings.root, follows=settings.is_own_folder)
            for folder in sorted((path for path in below if path.is_dir() and not path.is_symlink()), reverse=True):
                if not any(folder.iterdir()):
                    folder.rmdir()

    def _remove_shared_marts(self) -> None:
        if not (n_files := len(shared_files(self._settings))):
            return
        self.counts["shared marts"] = Counter(removed=n_files)
        if self._apply:
            try:
                remove_shared_marts(self._settings)
            except (SharedMartsError, OSError) as error:
                self.problems.append(
                    f"The marts in {self._settings.shared_marts} were not removed; delete them by hand: {error}"
                )

    def _save(self) -> None:
        if self._apply:
            self._plan.counts = {kind: dict(actions) for kind, actions in self.counts.items()}
            self._plan.save(self._settings.state)

    def _rename_units(self) -> None:
        settings, study = self._settings, self._plan.study
        for ledger in stored_ledgers(settings, FixedClock(self._now)):
            changed = ledger.rename_units(
                lambda _entity, _unit: REMOVED, study=None if study == EVERYTHING else study, apply=self._apply
            )
            if changed:
                self.counts.setdefault("quota ledger", Counter())["rewritten rows"] += changed
                if self._apply:
                    ledger.compact()

    def _remove(self, kind: str, path: Path) -> None:
        if not path.exists():
            return
        number = sum(1 for _ in all_files(path)) if path.is_dir() else 1
        self.counts.setdefault(kind, Counter())["removed"] += number
        if not self._apply:
            return
        if path.is_dir():
            shutil.rmtree(path.resolve())
            if path.is_symlink():
                path.unlink()
        else:
            path.unlink()
        fsync_folder(path.parent)
