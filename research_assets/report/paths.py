"""Paths of the pages in the folder of the reports, one of each kind per study.

Imports no drawing library, because the assets of the pages name them when the code location is loaded.
"""

from collections.abc import Iterable
from pathlib import Path

from research_assets.settings import Settings
from research_assets.storage.listing import matching_paths

BOARD_SUFFIX = "-coverage.html"
"""End of the name of a coverage board. The name of a study has no hyphen, so no report has such a name."""


def report_path(settings: Settings, study: str) -> Path:
    """Return the path of a study's report."""
    return settings.reports / f"{study}.html"


def board_path(settings: Settings, study: str) -> Path:
    """Return the path of a study's coverage board."""
    return settings.reports / f"{study}{BOARD_SUFFIX}"


def pages_of_other_studies(settings: Settings, studies: Iterable[str]) -> list[Path]:
    """Return the reports and coverage boards in the folder of studies that are not among some studies."""
    boards = matching_paths(settings.reports, f"*{BOARD_SUFFIX}")
    others = {board.name.removesuffix(BOARD_SUFFIX) for board in boards} - set(studies)
    pages = [path(settings, name) for name in sorted(others) for path in (report_path, board_path)]
    return [page for page in pages if page.exists()]


def page_address(settings: Settings, page: Path) -> str | None:
    """Return the address at which a page is served; None if no server is known."""
    return f"{settings.reports_url}/{page.name}" if settings.reports_url else None
