"""A report from the warehouse to its file: read, drawn, published by one rename, for its owner's eyes alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from research_assets.report import drawing
from research_assets.report.codebook import CODEBOOK_FILE, read_codebook, render_codebook
from research_assets.report.data import ReportData
from research_assets.report.elements import ReportSection
from research_assets.report.methods import methods_section
from research_assets.report.page import render_report
from research_assets.report.queries import published_at, read_report_data
from research_assets.report.sections import (
    coverage_section,
    creators_section,
    data_age_section,
    engagement_section,
    follow_graph_section,
    hashtags_section,
    observations_section,
    quota_section,
    threads_section,
    volume_section,
)
from research_assets.settings import Settings
from research_assets.storage.files import private_folder, write_private
from research_assets.study.spec import StudySpec
from research_assets.warehouse.reader import connect_read_only, is_simulated

UI_PICTURES = ("volume", "coverage", "quota")
"""Figures that are shown in the UI as well."""


SANDBOX_ORIGIN = "sandbox"


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A report on the disk: its file, what it is founded on, and its main pictures as PNG by name.

    `codebook` is the page of all marts beside it, None if the warehouse has no codebook.
    """

    path: Path
    codebook: Path | None
    data: ReportData
    pictures: Mapping[str, bytes]


def report_path(settings: Settings, study: str) -> Path:
    """Where the report of a study is."""
    return settings.reports / f"{study}.html"


def write_report(settings: Settings, study: StudySpec, now: datetime) -> WrittenReport:
    """Write the report of a study from the published marts, and the codebook beside it; older ones are replaced.

    Raises ReadingError if there is no warehouse, or none that holds what is needed.
    """
    data = read_report_data(settings, study.name)
    origin = _origin(settings)
    sections = _sections(data, study, settings, origin, now)
    path = report_path(settings, study.name)
    private_folder(settings.reports)
    codebook = write_codebook(settings, now)
    beside = codebook.name if codebook else ""
    write_private(path, render_report(data, study, origin, now, sections, beside).encode())
    figures = {figure.name: figure for section in sections for figure in section.figures}
    pictures = {name: drawing.to_png(figures[name].svg) for name in UI_PICTURES if name in figures}
    return WrittenReport(path, codebook, data, pictures)


def write_codebook(settings: Settings, now: datetime) -> Path | None:
    """Write the page of all marts into the folder of the reports; None, and no page, without the mart `codebook`."""
    path = settings.reports / CODEBOOK_FILE
    with connect_read_only(settings.warehouse) as connection:
        codebook = read_codebook(connection)
    if codebook is None:
        path.unlink(missing_ok=True)
        return None
    built = published_at(settings)
    write_private(
        path, render_codebook(codebook, simulated=_origin(settings) == SANDBOX_ORIGIN, built=built, now=now).encode()
    )
    return path


def _origin(settings: Settings) -> str:
    """The API's address, or `sandbox`: where the data root was filled from, or would be."""
    return SANDBOX_ORIGIN if is_simulated(settings) else settings.origin


def _sections(
    data: ReportData, study: StudySpec, settings: Settings, origin: str, now: datetime
) -> list[ReportSection]:
    return [
        volume_section(data),
        observations_section(data),
        coverage_section(data),
        quota_section(data, settings.caps),
        hashtags_section(data),
        creators_section(data),
        engagement_section(data),
        threads_section(data),
        follow_graph_section(data),
        data_age_section(data),
        methods_section(data, study, origin, now),
    ]
