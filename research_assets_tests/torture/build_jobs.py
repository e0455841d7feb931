"""Jobs of the children: builds of the marts, and what reads them. Not here: collections (see jobs.py)."""

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import research_assets as ra
from research_assets.export import ExportRequest, export
from research_assets.report.write import write_report
from research_assets.settings import Settings
from research_assets_tests.report.report_warehouse import STUDY
from research_assets_tests.warehouse.raw_data import at, make_attempt, new_id, video, write
from research_assets_tests.warehouse.test_increment import build_and_publish

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Build:
    """A build of the marts and its publication."""

    settings: Settings
    full_refresh: bool = False

    def __call__(self) -> None:
        build_and_publish(self.settings, full_refresh=self.full_refresh)


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a study and the codebook."""

    settings: Settings

    def __call__(self) -> None:
        write_report(self.settings, STUDY, NOW)


@dataclass(frozen=True, slots=True)
class TableExport:
    """An export of all marts as CSV and Parquet."""

    settings: Settings

    def __call__(self) -> None:
        export(self.settings, ExportRequest(formats=("csv", "parquet")), [STUDY], NOW)


@dataclass(frozen=True, slots=True)
class GrowingBuilds:
    """A number of builds, before each of which a day with one video arrives. At the end it creates the file `end`."""

    settings: Settings
    number: int
    end: Path

    def __call__(self) -> None:
        try:
            for index in range(self.number):
                day, capture = date(2025, 6, 1) + timedelta(days=index), f"grown{index}"
                row = video(new_id(at(1), 1000 + index), "anna", at(10))
                write(self.settings.raw, "videos", "grown", day, capture, [row])
                unit = make_attempt("videos", day, "day", str(day), "complete", at(10), kept=1) | {"capture": capture}
                write(self.settings.raw, "coverage", "grown", date(2026, 2, 10), capture, [unit])
                build_and_publish(self.settings, full_refresh=index % 10 == 9)
        finally:
            self.end.touch()


@dataclass(frozen=True, slots=True)
class Readings:
    """A reader that opens the marts until the file `end` exists; its result is the number of openings.

    Raises AssertionError if an opening shows no whole build, or an older one than the opening before.
    """

    settings: Settings
    end: Path

    def __call__(self) -> int:
        openings, newest = 0, 0
        while not self.end.exists():
            with ra.open(self.settings.root) as marts:
                queries = ("SELECT count(*) FROM videos", "SELECT count(DISTINCT unit) FROM coverage")
                videos, units = (marts.sql(f"{query} WHERE study = 'grown'").fetchall()[0][0] for query in queries)
                assert "mine" not in marts.marts, "rows of the foreign shell"
            assert videos == units, f"{videos} videos of {units} units"
            assert videos >= newest
            openings, newest = openings + 1, videos
        return openings
