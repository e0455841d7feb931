"""The document for a preregistration: what a study file fixes, its planned cost, and slots for the analysis.

Accounts are counted and not named, because preregistrations become public; the hash of the study fixes them.
Not here: the estimate of the cost (see planning/forecast.py), the command (see cli/preregister.py).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import ceil
from typing import Any

from research_assets.planning.forecast import EntityForecast
from research_assets.planning.messages import describe_day_sample
from research_assets.report.provenance import COVERS
from research_assets.study.provenance import IDENTIFYING_FIELDS
from research_assets.study.spec import StudySpec
from research_assets.text import one_line

_SLOT = "[to be completed before the data are analysed]"
_SLOTS = {
    "Research questions and hypotheses": "",
    "Units of analysis and variables": "Describe every variable with its column and table (see the codebook).",
    "Exclusions": "State which videos, accounts or days are left out, and why.",
    "Statistical models": "State models, tests, thresholds and corrections for several tests.",
    "Missing data": "State how days that are not complete, and videos that the API did not return, are handled.",
    "Robustness and exploration": "",
    "What is known already": "State which of these data you have seen.",
}


@dataclass(frozen=True, slots=True)
class Registration:
    """Contents of a preregistration: the study, the SHA-256 of its specification, and the days collected already."""

    study: StudySpec
    file_name: str
    sha256: str
    days_collected: int
    software: str
    simulated: bool
    collected_sha256: str = ""
    """The hash of the first collection; empty before it."""


def render_preregistration(registration: Registration, costs: Sequence[EntityForecast], now: datetime) -> str:
    """Return the document as Markdown."""
    return "\n\n".join(_parts(registration, costs, now)) + "\n"


def _parts(registration: Registration, costs: Sequence[EntityForecast], now: datetime) -> Iterator[str]:
    study = registration.study
    yield f"# Preregistration: {one_line(study.heading)}"
    if registration.simulated:
        yield "**Simulated data.** The study is collected from the sandbox."
    yield (
        f"Written at {now:%Y-%m-%d %H:%M} (UTC) by {registration.software}. Study file: "
        f"`{one_line(registration.file_name)}`, SHA-256 `{registration.sha256}`. {COVERS} Keep the file with this "
        "document."
    )
    if registration.days_collected:
        yield (
            f"**Collection has begun**: videos of {registration.days_collected:,} days were collected before this "
            "document was written. Say so in the registration."
        )
        if registration.collected_sha256 == registration.sha256:
            yield "The study file of the first collection has the same hash."
        elif registration.collected_sha256:
            yield f"The study file of the first collection has another hash: `{registration.collected_sha256}`."
    else:
        yield "No day of the study had been collected when this document was written."
    yield "## Population and query"
    end = f"{study.end} (UTC, inclusive)" if study.end else "no end"
    yield f"Public videos published from {study.start} to {end} that match:"
    yield "\n".join(["```", *_conditions(study.query), "```"])
    accounts = f"a panel of {len(study.panel):,} accounts" if study.panel else "no panel"
    yield f"Lists of accounts: {accounts}. Accounts are not named here; the study file names them."
    yield "## Retrieval"
    ages = ", ".join(map(str, study.reobserve_days)) or "none"
    yield (
        f"Source: TikTok's Research API. Each day is collected no earlier than {study.settle_days} days after it ended "
        f"and observed again at these ages in days: {ages}. Profiles: {study.users.who}; profiles and lists are "
        f"observed {study.observe}. "
        + ("The playlists of the collected videos are observed in the same periods. " if study.playlists else "")
        + (f"A share of {study.repeat:g} of the days is collected twice within a day. " if study.repeat else "")
        + _fields(study)
    )
    yield "## Sampling"
    if sample := describe_day_sample(study, now):
        yield f"Days: {sample}"
    yield (
        f"All videos that the API returns are kept. Comments: {study.comments.described_videos}; "
        f"replies: {study.comments.replies}."
    )
    yield "## Planned cost"
    yield "\n".join(_cost_lines(costs))
    yield "## Analysis"
    for heading, hint in _SLOTS.items():
        yield f"### {heading}\n\n{hint + ' ' if hint else ''}{_SLOT}"


def _fields(study: StudySpec) -> str:
    if not study.fields:
        return "All fields of the API are requested."
    return " ".join(f"Fields of {entity}: {', '.join(names)}." for entity, names in sorted(study.fields.items()))


def _conditions(query: Mapping[str, Any]) -> Iterator[str]:
    for group, conditions in query.items():
        for condition in conditions:
            values = condition["field_values"]
            shown = dict(condition)
            if condition["field_name"] in IDENTIFYING_FIELDS:
                shown["field_values"] = f"{len(values)} values, not named"
            yield f"  {group}: {json.dumps(shown, ensure_ascii=False, default=list)}"


def _cost_lines(costs: Sequence[EntityForecast]) -> Iterator[str]:
    yield "| entity | requests | requests per day that recur | basis |"
    yield "| --- | ---: | ---: | --- |"
    for line in costs:
        requests = f"{ceil(line.remaining.requests):,}" + (" or more" if line.unknown else "")
        recurring = f"{line.recurring_per_day:,.1f}" if line.recurring_per_day else ""
        yield f"| {line.label or line.entity} | {requests} | {recurring} | {line.remaining.basis} |"
    yield "\nThe API permits 1,000 requests per day. Without collected data the numbers are lower bounds."
