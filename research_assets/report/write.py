"""A report from the warehouse to its file: read, drawn, published by one rename, for its owner's eyes alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from research_assets.collect.spec import StudySpec
from research_assets.files import private_folder, write_private
from research_assets.reading import is_simulated
from research_assets.report import draw
from research_assets.report.facts import Facts
from research_assets.report.methods import methods
from research_assets.report.page import page
from research_assets.report.queries import read_facts
from research_assets.report.section import Section
from research_assets.report.section_observed import observed
from research_assets.report.sections_content import ages, creators, engagement, hashtags, network, threads
from research_assets.report.sections_held import coverage, quota, volume
from research_assets.settings import Settings

PICTURES = ("volume", "coverage", "quota")
"""Figures that are shown in the UI as well."""


@dataclass(frozen=True, slots=True)
class Written:
    """A report on the disk: its file, what it is founded on, and its main pictures as PNG by name."""

    path: Path
    facts: Facts
    pictures: Mapping[str, bytes]


def report_path(settings: Settings, study: str) -> Path:
    """Where the report of a study is."""
    return settings.reports / f"{study}.html"


def write_report(settings: Settings, study: StudySpec, now: datetime) -> Written:
    """Write the report of a study from the published marts; an older one is replaced.

    Raises ReadingError if there is no warehouse, or none that holds what is needed.
    """
    facts = read_facts(settings, study.name)
    origin = "sandbox" if is_simulated(settings) else settings.origin
    sections = _sections(facts, study, settings, origin, now)
    path = report_path(settings, study.name)
    private_folder(settings.reports)
    write_private(path, page(facts, study, origin, now, sections).encode())
    figures = {figure.name: figure for section in sections for figure in section.figures}
    pictures = {name: draw.png(figures[name].svg) for name in PICTURES if name in figures}
    return Written(path, facts, pictures)


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
