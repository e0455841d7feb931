"""The tables of the methods section, and the sums that its sentences are made of."""

from collections.abc import Mapping, Sequence

from research_assets.collect.spec import StudySpec
from research_assets.fields import ENTITIES
from research_assets.report.epoch_words import change_period
from research_assets.report.facts import ApiChange, ReportData, UnitGroup
from research_assets.report.section import ReportTable, number_columns, text_columns, time_columns
from research_assets.report.words import NO_VALUE, format_minute, format_number, format_share

DATE_BASIS_LABELS = {"published": "day of publication", "observed": "day of asking"}
"""Which day decides whether a row is touched by a break."""

NUMBERING_NOTE = (
    "Numbers are those on the charts and in the codebook. A break decided by the day of asking touches every row that "
    "was asked in it, whenever the video was published."
)


def combine_units(facts: ReportData, entity: str, kind: str | None = None) -> UnitGroup:
    """All units of an entity together, whatever their state."""
    groups = [group for group in facts.units if group.entity == entity and kind in (None, group.kind)]
    promised = [group.expected for group in groups if group.expected is not None]
    first = [group.first_at for group in groups if group.first_at]
    last = [group.last_at for group in groups if group.last_at]
    return UnitGroup(
        entity,
        kind or "",
        "",
        sum(group.units for group in groups),
        sum(group.asked for group in groups),
        sum(group.offered for group in groups),
        sum(group.kept for group in groups),
        sum(promised) if promised else None,
        sum(group.requests for group in groups),
        min(first, default=None),
        max(last, default=None),
    )


def totals_table(facts: ReportData) -> ReportTable:
    """What was asked, offered and kept of each entity."""
    rows = []
    for entity in ENTITIES:
        together = combine_units(facts, entity)
        if together.units:
            rows.append(
                [entity, format_number(together.units), format_number(together.asked), format_number(together.offered),
                 format_number(together.kept), format_number(round(together.requests, 1)),
                 format_minute(together.first_at), format_minute(together.last_at)]
            )  # fmt: skip
    columns = [
        *text_columns("entity"),
        *number_columns("units", "asked", "offered", "kept", "requests"),
        *time_columns("first asked (UTC)", "last asked (UTC)"),
    ]
    return ReportTable("Asked, offered and kept", columns, rows, is_collapsed=False)


def column_fill_table(facts: ReportData) -> ReportTable:
    """How often the columns of the videos are filled."""
    rows = [
        [
            one.column,
            one.description,
            one.since or NO_VALUE,
            format_number(one.filled),
            format_share(one.filled, facts.overall.videos),
        ]
        for one in facts.column_fill
        if one.column != "study"
    ]
    columns = [*text_columns("column", "meaning", "API has it since"), *number_columns("filled", "share")]
    note = "The codebook of the marts has every other one, and what is filled by month, of all studies together."
    known = any(one.since for one in facts.column_fill)
    return ReportTable(
        "Columns of the mart videos, and how often they are filled", columns, rows, note=note if known else ""
    )


def requested_fields_table(study: StudySpec) -> ReportTable:
    """The fields that the requests name."""
    asked: Mapping[str, tuple[str, ...]] = {
        name: study.fields.get(name, entity.requested) for name, entity in ENTITIES.items()
    }
    rows = [[name, ", ".join(names) or "the endpoint takes none"] for name, names in asked.items()]
    return ReportTable("Fields asked for", [*text_columns("entity", "fields")], rows)


def api_changes_table(epochs: Sequence[ApiChange]) -> ReportTable:
    """Known breaks in the API's data."""
    rows = [
        [
            str(epoch.number),
            change_period(epoch),
            DATE_BASIS_LABELS[epoch.date_basis],
            epoch.title,
            epoch.description,
            epoch.source,
        ]
        for epoch in epochs
    ]
    columns = [*number_columns("no."), *text_columns("when", "decided by", "break", "what", "source")]
    return ReportTable("Breaks in the API's data", columns, rows, note=NUMBERING_NOTE)
