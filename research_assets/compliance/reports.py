"""The reports that a removal deleted, written again from the marts without the items.

A page cannot be cleaned, because the names in its charts are drawn. Not here: which pages go (see removal.py), their
contents (see report/).
"""

from collections.abc import Collection
from contextlib import suppress
from datetime import datetime

from research_assets.report.paths import board_path, report_path
from research_assets.settings import Settings
from research_assets.study.loader import load_valid_studies
from research_assets.warehouse.reader import WarehouseReadError


def write_again(settings: Settings, pages: Collection[str], now: datetime) -> list[str]:
    """Write pages again, given by the names of their files without ending; returns those that could not be written.

    The page of a study without a readable study file, and every report while there is no warehouse, cannot be written.
    """
    # These load the libraries that draw and render.
    from research_assets.report.codebook import CODEBOOK_FILE
    from research_assets.report.coverage_board import write_board
    from research_assets.report.write import write_codebook, write_report

    left, codebook = set(pages), CODEBOOK_FILE.removesuffix(".html")
    for study in load_valid_studies(settings):
        if report_path(settings, study.name).stem in left:
            try:
                write_report(settings, study, now)
            except WarehouseReadError:
                continue
            left -= {report_path(settings, study.name).stem, codebook}
        if board_path(settings, study.name).stem in left:
            write_board(settings, study, now)
            left.remove(board_path(settings, study.name).stem)
    if codebook in left:
        with suppress(WarehouseReadError):
            write_codebook(settings, now)
            left.remove(codebook)
    return sorted(left)
