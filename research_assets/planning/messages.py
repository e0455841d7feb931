"""Texts about planned runs and deferred units, with their numbers; the terminal and the UI use the same ones.

Each text has this order: state, number, next time in UTC. Not here: the decision that the texts describe (see
agenda.py).
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, time, timedelta

from research_assets.planning.types import REASON_TEXT, Agenda, PlannedRun
from research_assets.quota.ledger import PoolState
from research_assets.study.spec import StudySpec
from research_assets.tiktok.endpoints import BY_ENTITY


def describe_day_sample(study: StudySpec, now: datetime) -> str:
    """Return how many days of a study were drawn, from which strata; empty for a study without a sample of days."""
    sample = study.day_sample
    if sample is None:
        return ""
    last = study.end or max(study.start, now.date())
    drawn = study.days_to(last)
    number = (last - study.start).days + 1
    until = "" if study.end else " so far"
    strata = " and ".join(sample.by) or "year"
    n_single = sum(len(stratum.drawn) == 1 for stratum in {sample.stratum(day) for day in drawn})
    single = f" {pluralize(n_single, 'stratum', 'strata')} with one sampled day." if n_single else ""
    return (
        f"{len(drawn)} of {pluralize(number, 'day')}{until} are sampled ({len(drawn) / number:.0%}; at random by "
        f"{strata}, seed {sample.seed}); no other day is requested.{single}"
    )


def describe_run(run: PlannedRun) -> str:
    """Return a run as text: `gardening/videos 2026-02-01..2026-02-07: 7 units, about 3 requests (known counts); …`."""
    first, last = run.partitions[0], run.partitions[-1]
    partitions = f"{first}..{last}" if first != last else f"{first}"
    rest = ", the rest in the next quota window" if run.is_partial else ""
    requests = pluralize(run.requests, "request")
    # Without data the estimate is the least that the run can cost.
    number = f"{requests} or more" if run.basis == "no data yet" else f"about {requests}"
    cost = f"{number} ({run.basis}{rest})" if run.requests else "no request"
    reasons = ", ".join(REASON_TEXT[reason] for reason in run.reasons)
    return f"{run.study}/{run.entity} {partitions}: {pluralize(run.units, 'unit')}, {cost}; {reasons}"


def describe_deferred(agenda: Agenda, pools: Mapping[str, PoolState], now: datetime) -> str:
    """Return why no run starts now: the remaining quota, the number of deferred units, and the next time of each.

    An example is `research: 0 of 1,000 requests remaining; 37 units wait; available at 00:00 UTC.`
    """
    sentences = [*_describe_pools(agenda, pools, now)]
    for reason, one, many in (
        ("backing_off", "unit waits for its next try", "units wait for their next try"),
        ("too_fresh", "day has not settled", "days have not settled"),
        ("unconfirmed", "video without a confirmed comment count", "videos without a confirmed comment count"),
        ("running", "unit is being collected", "units are being collected"),
        ("no_progress", "unit made no progress in recent runs", "units made no progress in recent runs"),
    ):
        matching = [deferred for deferred in agenda.deferred if deferred.reason == reason]
        units = sum(deferred.units for deferred in matching)
        if units:
            until = min((deferred.until for deferred in matching if deferred.until), default=None)
            next_time = f" (next: {format_short_time(until, now)})" if until else ""
            sentences.append(f"{pluralize(units, one, many)}{next_time}")
    return ". ".join(sentences or ["All available data was collected"]) + "."


DEFERRED_TEXT: Mapping[str, str] = {
    "quota": "the quota is used up",
    "backing_off": "waits for its next try",
    "too_fresh": "has not settled",
    "unconfirmed": "comment counts to be confirmed",
    "running": "is being collected",
    "no_progress": "no progress in recent runs",
}
"""Text for each reason for which units are deferred."""


def plan_table(agenda: Agenda, now: datetime) -> str:
    """Return what starts now and what follows later as a table in text, one line per run and per group of units.

    The requests of runs that wait for data are the least that they can cost.
    """
    starting = [
        (
            f"{run.study}/{run.entity}",
            _partitions_text(run),
            f"{run.units:,}",
            f"{run.requests:,}{' or more' if run.basis == 'no data yet' or run.is_partial else ''}",
            ", ".join(REASON_TEXT[reason] for reason in run.reasons),
        )
        for run in agenda.items
        if not run.needs_no_run
    ]
    later = [
        (
            f"{deferred.study}/{deferred.entity}",
            format_short_time(deferred.until, now) if deferred.until else "not known",
            f"{deferred.units:,}",
            f"{deferred.requests:,}" if deferred.requests else "",
            DEFERRED_TEXT[deferred.reason],
        )
        for deferred in agenda.deferred
        if deferred.units
    ]
    parts = []
    if starting:
        parts.append(_text_table(("starts now", "partitions", "units", "requests", "reason"), starting))
    if later:
        parts.append(_text_table(("later", "from", "units", "requests", "reason"), later))
    return "\n\n".join(parts)


def _partitions_text(run: PlannedRun) -> str:
    first, last = run.partitions[0], run.partitions[-1]
    return f"{first}..{last}" if first != last else f"{first}"


def _text_table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as columns of equal width; numbers are aligned at the right."""
    lines = [header, *rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if index in (2, 3) else cell.ljust(width)
            for index, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _describe_pools(agenda: Agenda, pools: Mapping[str, PoolState], now: datetime) -> Iterator[str]:
    without_quota = [deferred for deferred in agenda.deferred if deferred.reason == "quota"]
    for name, pool in pools.items():
        matching = [deferred for deferred in without_quota if BY_ENTITY[deferred.entity].pool == name]
        if not matching:
            continue
        units, requests = sum(d.units for d in matching), sum(d.requests for d in matching)
        available_at = min(deferred.until for deferred in matching if deferred.until)
        # Units without an estimate need requests too, so the sum is then a lower bound.
        is_bound = any(d.units and not d.requests for d in matching)
        number = pluralize(requests, "request")
        cost = f" for {f'{number} or more' if is_bound else f'about {number}'}" if requests else ""
        budgeted = min(agenda.budgeted.get(name, 0), pool.remaining)
        yield (
            f"{name}: {pool.remaining:,} of {pool.cap:,} requests remaining"
            f"{f', {budgeted:,} of them in the budgets of active runs' if budgeted else ''}; "
            f"{pluralize(units, 'unit waits', 'units wait')}{cost}; "
            f"available {'when these runs end, or ' if budgeted else ''}at {format_short_time(available_at, now)}"
        )


def pluralize(value: int, one: str, many: str | None = None) -> str:
    """Return a number with its noun: `1 unit`, `1,000 units`; `many` is the plural if it is not `one` with an s."""
    return f"{value:,} {one if value == 1 else many or one + 's'}"


def format_short_time(at: datetime, now: datetime) -> str:
    """Return a time as text, without the day if it is later on this UTC day or at its end: `00:00 UTC`."""
    end = datetime.combine(now.date() + timedelta(days=1), time.min, tzinfo=UTC)
    return f"{at:%H:%M} UTC" if now <= at <= end else f"{at:%Y-%m-%d %H:%M} UTC"
