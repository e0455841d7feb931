"""The agenda in words, for the UI and the terminal: what is asked, what waits, until when, with the numbers."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from research_assets.planning.types import REASON_TEXT, Agenda, DeferredUnits, PlannedRun
from research_assets.quota.ledger import PoolState
from research_assets.tiktok.endpoints import BY_ENTITY


def describe_run(item: PlannedRun) -> str:
    """One piece of work: `gardening/videos 2026-02-01..2026-02-07: 7 units, about 3 requests (density); …`."""
    first, last = item.partitions[0], item.partitions[-1]
    partitions = f"{first}..{last}" if first != last else f"{first}"
    more = ", the rest at the next window" if item.is_partial else ""
    why = ", ".join(REASON_TEXT[why] for why in item.reasons)
    cost = f"about {pluralize(item.requests, 'request')} ({item.basis}{more})" if item.requests else "no request"
    return f"{item.study}/{item.entity} {partitions}: {pluralize(item.units, 'unit')}, {cost}; {why}"


def describe_deferred(agenda: Agenda, pools: Mapping[str, PoolState], now: datetime) -> str:
    """Why nothing is asked now: `0 of 1,000 left; 37 units wait; opens 00:00 UTC`, and what else waits for what."""
    parts = [*_describe_pools(agenda.deferred, pools, now)]
    for why, one, many in (
        ("backing_off", "unit that failed or paused rests", "units that failed or paused rest"),
        ("too_fresh", "day has not settled", "days have not settled"),
        ("running", "unit is being asked", "units are being asked"),
        ("no_progress", "unit was asked in vain of late", "units were asked in vain of late"),
    ):
        mine = [wait for wait in agenda.deferred if wait.reason == why]
        units = sum(wait.units for wait in mine)
        if units:
            until = min((wait.until for wait in mine if wait.until), default=None)
            following = f" (next: {format_short_time(until, now)})" if until else ""
            parts.append(f"{units:,} {one if units == 1 else many}{following}")
    if not parts:
        parts = ["Everything that the studies want is held"]
    return ". ".join(parts) + "."


def _describe_pools(waiting: Iterable[DeferredUnits], pools: Mapping[str, PoolState], now: datetime) -> Sequence[str]:
    reported = []
    quota = [wait for wait in waiting if wait.reason == "quota"]
    for name, pool in pools.items():
        mine = [wait for wait in quota if BY_ENTITY[wait.entity].pool == name]
        if mine:
            units, requests = sum(wait.units for wait in mine), sum(wait.requests for wait in mine)
            opens = min(wait.until for wait in mine if wait.until)
            # What nobody has an idea of costs something too.
            so = "at least" if any(wait.units and not wait.requests for wait in mine) else "about"
            about = f" for {so} {pluralize(requests, 'request')}" if requests else ""
            reported.append(
                f"{name}: {pool.remaining:,} of {pool.cap:,} left; {pluralize(units, 'unit')} wait"
                f"{'s' * (units == 1)}{about}; opens {format_short_time(opens, now)}"
            )
    return reported


def pluralize(number: int, noun: str) -> str:
    """`1 unit`, `1,000 units`."""
    return f"{number:,} {noun}{'s' * (number != 1)}"


def format_short_time(moment: datetime, now: datetime) -> str:
    """A moment as people read it; the day is left out for the next 24 hours."""
    near = 0 <= (moment - now).total_seconds() <= 86_400
    return f"{moment:%H:%M} UTC" if near else f"{moment:%Y-%m-%d %H:%M} UTC"
