"""Sentences on what defined a study at its first collection, on later changes of its file, and on preregistrations.

They are in the past tense, so that the methods section of a paper can use them. The check, the report and the command
`status` have the same ones. Not here: the record (see study/provenance.py).
"""

from collections.abc import Iterator, Sequence

from research_assets.planning.messages import pluralize
from research_assets.settings import Settings
from research_assets.study.provenance import (
    Contents,
    Held,
    Provenance,
    ProvenanceError,
    Version,
    changed_values,
    contents_of,
    read_provenance,
    study_hash,
)
from research_assets.study.spec import StudySpec
from research_assets.units.coverage import format_utc

COVERS = (
    "The hash is that of the parsed specification: whitespace, comments, the order of keys, and the keys title, "
    "owners, quota_weight, delete_after and verify_by are no part of it. Accounts are part of it by a digest."
)
"""Extent of the hash of a study."""


def design_text(settings: Settings, study: StudySpec) -> str:
    """Return the paragraph for the methods section; empty before the first collection."""
    try:
        record = read_provenance(settings, study.name)
    except ProvenanceError as error:
        return str(error)
    if record.first is None:
        return ""
    parts = [first_sentence(record.first), *change_sentences(record, contents_of(study))]
    if len(parts) == 1:
        parts.append("It was not changed afterwards.")
    return " ".join([*parts, *preregistration_sentences(record), COVERS])


def first_sentence(first: Version) -> str:
    """Return when collection began, with which software and which specification."""
    held = f" Data of {_held(first.held)} were stored already when this was recorded." if first.held.units else ""
    return (
        f"Collection began on {format_utc(first.at)} with {first.software} and the study file with the SHA-256 "
        f"{first.sha256}.{held}"
    )


def change_sentences(record: Provenance, current: Contents) -> list[str]:
    """Return a sentence for each change after the first collection; `current` may have one not collected yet."""
    changes = [
        f"A collection on {format_utc(new.at)}, when data of {_held(new.held)} were stored, was the first one with a "
        f"changed study file ({_difference(old, new)})."
        for old, new in record.changes
    ]
    if pending := pending_change(record, current):
        changes.append(pending)
    return changes


def pending_change(record: Provenance, current: Contents) -> str:
    """Return a sentence on how the study file differs from the newest collection; empty if it does not."""
    if not record.collected or record.collected[-1].sha256 == study_hash(current):
        return ""
    values = changed_values(record.collected[-1].contents, current)
    return f"The study file was changed since, and nothing was collected with the change ({values})."


def preregistration_sentences(record: Provenance) -> Iterator[str]:
    """Yield for each preregistration whether it describes the specification of the first collection."""
    first = record.first
    for one in record.preregistered:
        begin = f"The preregistration that was written on {format_utc(one.at)}"
        if first is None:
            continue
        if one.sha256 == first.sha256:
            yield f"{begin} has the same hash as the study file of the first collection."
        else:
            yield (
                f"{begin} has another hash ({one.sha256}) than the study file of the first collection: "
                f"{_difference(one, first)}."
            )


def changed_with_data(record: Provenance) -> Sequence[Version]:
    """Return the changes that were made after data had been stored."""
    return [new for _, new in record.changes if new.held.units]


def _difference(old: Version, new: Version) -> str:
    return changed_values(old.contents, new.contents) or "the difference was removed with a withdrawn item"


def _held(held: Held) -> str:
    return f"{pluralize(held.days, 'day')} ({pluralize(held.units, 'unit')})"
