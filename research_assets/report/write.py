"""Writing of reports: read the marts, build the sections, replace the files of a report and the codebook atomically.

Files are readable by their owner only.
Not here: the Dagster asset (see assets/report.py), the command (see cli/report.py).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from research_assets.report.codebook import CODEBOOK_FILE, read_codebook, render_codebook
from research_assets.report.data import ReportData
from research_assets.report.day_sample import day_sample_section
from research_assets.report.drawing_process import draw_figures
from research_assets.report.elements import ReportSection
from research_assets.report.handles import without_handles
from research_assets.report.methods import methods_section
from research_assets.report.page import render_report
from research_assets.report.paths import report_path
from research_assets.report.population import population_section
from research_assets.report.provenance import design_text
from research_assets.report.queries import read_report_data
from research_assets.report.repeatability import repeatability_section
from research_assets.report.rounds import rounds_section
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
from research_assets.report.verification import verification_section
from research_assets.settings import Settings
from research_assets.storage.files import private_folder, write_private
from research_assets.study.spec import StudySpec
from research_assets.warehouse.reader import connect_read_only, is_simulated, published_at

_LOGGER = logging.getLogger(__name__)

UI_PICTURES = ("volume", "coverage", "quota")
"""Figures that Dagster's UI shows as well."""

SANDBOX_ORIGIN = "sandbox"
"""Origin of simulated data, in place of the address of the API."""


@dataclass(frozen=True, slots=True)
class WrittenReport:
    """A written report: its file, its data, and the pictures for Dagster's UI as PNG by name.

    `codebook` is the file of the codebook; None if the warehouse has no codebook. `problems` contains the causes of
    charts that could not be drawn, by name.
    """

    path: Path
    codebook: Path | None
    data: ReportData
    pictures: Mapping[str, bytes]
    problems: Mapping[str, str]


def write_report(settings: Settings, study: StudySpec, now: datetime, *, handles: bool = False) -> WrittenReport:
    """Write the report of a study and the codebook from the published marts; older files are replaced.

    The report contains handles of accounts only with `handles`. Raise WarehouseReadError if there is no warehouse or if
    it lacks a required mart.
    """
    data = read_report_data(settings, study.name)
    design = design_text(settings, study)
    if not handles:
        data, study = without_handles(data, study)
    origin = _origin(settings)
    sections = report_sections(data, study, settings, origin, now, design)
    pictures = draw_figures([figure for section in sections for figure in section.figures], UI_PICTURES)
    problems = {name: picture.problem for name, picture in pictures.items() if picture.problem}
    for name, problem in problems.items():
        _LOGGER.warning("The report on %s has no chart %r: %s", study.name, name, problem)
    path = report_path(settings, study.name)
    private_folder(settings.reports)
    codebook = write_codebook(settings, now)
    codebook_file = codebook.name if codebook else ""
    write_private(path, render_report(data, study, origin, now, sections, pictures, codebook_file).encode())
    pngs = {name: picture.png for name, picture in pictures.items() if picture.png}
    return WrittenReport(path, codebook, data, pngs, problems)


def write_codebook(settings: Settings, now: datetime) -> Path | None:
    """Write the codebook of all marts into the folder of the reports and return its path.

    Without the mart `codebook` return None and remove an older file.
    """
    path = settings.reports / CODEBOOK_FILE
    with connect_read_only(settings.published_marts) as connection:
        codebook = read_codebook(connection)
    if codebook is None:
        path.unlink(missing_ok=True)
        return None
    simulated, built = _origin(settings) == SANDBOX_ORIGIN, published_at(settings.published_marts)
    write_private(path, render_codebook(codebook, simulated=simulated, built=built, now=now).encode())
    return path


def _origin(settings: Settings) -> str:
    """Return the address of the API that the data come from, or `sandbox`."""
    return SANDBOX_ORIGIN if is_simulated(settings) else settings.origin


def report_sections(
    data: ReportData, study: StudySpec, settings: Settings, origin: str, now: datetime, design: str = ""
) -> list[ReportSection]:
    """Return the sections in the order of the page; the arguments are those of `methods_section`."""
    sections = [
        volume_section(data),
        day_sample_section(study, data.sampled_days, data.built_at),
        observations_section(data),
        rounds_section(data),
        coverage_section(data),
        quota_section(data, settings.caps),
        hashtags_section(data),
        creators_section(data),
        engagement_section(data),
        threads_section(data),
        follow_graph_section(data),
        data_age_section(data),
        repeatability_section(data.repeated_days, study.repeat),
        population_section(data.estimated_days),
        verification_section(data),
        methods_section(data, study, origin, now, design),
    ]
    return [section for section in sections if section is not None]
