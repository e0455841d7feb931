"""The tables of the methods section, and the sums that its sentences are made of."""

from collections.abc import Mapping, Sequence

from research_assets.collect.spec import StudySpec
from research_assets.fields import ENTITIES
from research_assets.report.epoch_words import span
from research_assets.report.facts import Epoch, Facts, Units
from research_assets.report.section import Table, numbers, texts, times
from research_assets.report.words import NOTHING, minute, number, share_of

CLOCKS = {"published": "day of publication", "observed": "day of asking"}
"""Which day decides whether a row is touched by a break."""

NUMBERED = (
    "Numbers are those on the charts and in the codebook. A break decided by the day of asking touches every row that "
    "was asked in it, whenever the video was published."
)


def together_of(facts: Facts, entity: str, kind: str | None = None) -> Units:
    """All units of an entity together, whatever their state."""
    groups = [group for group in facts.units if group.entity == entity and kind in (None, group.kind)]
    promised = [group.expected for group in groups if group.expected is not None]
    first = [group.first_at for group in groups if group.first_at]
    last = [group.last_at for group in groups if group.last_at]
    return Units(
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


def totals(facts: Facts) -> Table:
    """What was asked, offered and kept of each entity."""
    rows = []
    for entity in ENTITIES:
        together = together_of(facts, entity)
        if together.units:
            rows.append(
                [entity, number(together.units), number(together.asked), number(together.offered),
                 number(together.kept), number(round(together.requests, 1)),
                 minute(together.first_at), minute(together.last_at)]
            )  # fmt: skip
    columns = [
        *texts("entity"),
        *numbers("units", "asked", "offered", "kept", "requests"),
        *times("first asked (UTC)", "last asked (UTC)"),
    ]
    return Table("Asked, offered and kept", columns, rows, folded=False)


def filled(facts: Facts) -> Table:
    """How often the columns of the videos are filled."""
    rows = [
        [one.column, one.meaning, one.since or NOTHING, number(one.filled), share_of(one.filled, facts.overall.videos)]
        for one in facts.filled
        if one.column != "study"
    ]
    columns = [*texts("column", "meaning", "API has it since"), *numbers("filled", "share")]
    note = "The codebook of the marts has every other one, and what is filled by month, of all studies together."
    known = any(one.since for one in facts.filled)
    return Table("Columns of the mart videos, and how often they are filled", columns, rows, note=note if known else "")


def fields_asked(study: StudySpec) -> Table:
    """The fields that the requests name."""
    asked: Mapping[str, tuple[str, ...]] = {
        name: study.fields.get(name, entity.requested) for name, entity in ENTITIES.items()
    }
    rows = [[name, ", ".join(names) or "the endpoint takes none"] for name, names in asked.items()]
    return Table("Fields asked for", [*texts("entity", "fields")], rows)


def breaks(epochs: Sequence[Epoch]) -> Table:
    """Known breaks in the API's data."""
    rows = [
        [str(epoch.number), span(epoch), CLOCKS[epoch.clock], epoch.title, epoch.description, epoch.source]
        for epoch in epochs
    ]
    columns = [*numbers("no."), *texts("when", "decided by", "break", "what", "source")]
    return Table("Breaks in the API's data", columns, rows, note=NUMBERED)
