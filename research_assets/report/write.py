"""A report from the warehouse to its file: read, drawn, published by one rename, for its owner's eyes alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from research_assets.collect.spec import StudySpec
from research_assets.files import private_folder, write_private
from research_assets.reading import connect_read_only, is_simulated
from research_assets.report import draw
from research_assets.report.codebook import read_book
from research_assets.report.codebook_page import NAME, codebook_page
from research_assets.report.facts import Facts
from research_assets.report.methods import methods
from research_assets.report.page import page
from research_assets.report.queries import built_at, read_facts
from research_assets.report.section import Section
from research_assets.report.section_observed import observed
from research_assets.report.sections_content import ages, creators, engagement, hashtags, network, threads
from research_assets.report.sections_held import coverage, quota, volume
from research_assets.settings import Settings

PICTURES = ("volume", "coverage", "quota")
"""Figures that are shown in the UI as well."""


SANDBOX = "sandbox"


@dataclass(frozen=True, slots=True)
class Written:
    """A report on the disk: its file, what it is founded on, and its main pictures as PNG by name.

    `codebook` is the page of all marts beside it, None if the warehouse has no codebook.
    """

    path: Path
    codebook: Path | None
    facts: Facts
    pictures: Mapping[str, bytes]


def report_path(settings: Settings, study: str) -> Path:
    """Where the report of a study is."""
    return settings.reports / f"{study}.html"


def write_report(settings: Settings, study: StudySpec, now: datetime) -> Written:
    """Write the report of a study from the published marts, and the codebook beside it; older ones are replaced.

    Raises ReadingError if there is no warehouse, or none that holds what is needed.
    """
    facts = read_facts(settings, study.name)
    origin = _origin(settings)
    sections = _sections(facts, study, settings, origin, now)
    path = report_path(settings, study.name)
    private_folder(settings.reports)
    codebook = write_codebook(settings, now)
    beside = codebook.name if codebook else ""
    write_private(path, page(facts, study, origin, now, sections, beside).encode())
    figures = {figure.name: figure for section in sections for figure in section.figures}
    pictures = {name: draw.png(figures[name].svg) for name in PICTURES if name in figures}
    return Written(path, codebook, facts, pictures)


def write_codebook(settings: Settings, now: datetime) -> Path | None:
    """Write the page of all marts into the folder of the reports; None, and no page, without the mart `codebook`."""
    path = settings.reports / NAME
    with connect_read_only(settings.warehouse) as connection:
        book = read_book(connection)
    if book is None:
        path.unlink(missing_ok=True)
        return None
    built = built_at(settings)
    write_private(path, codebook_page(book, simulated=_origin(settings) == SANDBOX, built=built, now=now).encode())
    return path


def _origin(settings: Settings) -> str:
    """The API's address, or `sandbox`: where the data root was filled from, or would be."""
    return SANDBOX if is_simulated(settings) else settings.origin


def _sections(facts: Facts, study: StudySpec, settings: Settings, origin: str, now: datetime) -> list[Section]:
    return [
        volume(facts),
        observed(facts),
        coverage(facts),
        quota(facts, settings.caps),
        hashtags(facts),
        creators(facts),
        engagement(facts),
        threads(facts),
        network(facts),
        ages(facts),
        methods(facts, study, origin, now),
    ]
