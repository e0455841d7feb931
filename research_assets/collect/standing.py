"""Where everything stands: what is held of each study, what is open, and what that will cost, read from files alone.

The reading side of the agenda and the plan. A read that fails raises: it is never taken for nothing to do.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

from research_assets.clock import week_of
from research_assets.collect.accounts import batches, named
from research_assets.collect.agenda_model import Facts, Key, Standing
from research_assets.collect.coverage import SETTLED, Held, read_held
from research_assets.collect.estimate import NOTHING, a_list, total
from research_assets.collect.lookup import Raw, lookup
from research_assets.collect.observing import EVERY, SEVERAL, day_to_call, observes
from research_assets.collect.spec import StudySpec
from research_assets.collect.targets import Target, account_targets, replies_by_day, videos_by_day
from research_assets.fields import ENTITIES
from research_assets.quota import PoolState
from research_assets.settings import Settings

Shown = Callable[[str, str], Collection[date]]
"""The partitions of a study's entity that the UI shows as materialized."""

_ENDED = "('complete', 'refused', 'missing')"

_AT_A_TIME = 31
"""Days whose units are in memory together."""


def entities_of(study: StudySpec) -> tuple[str, ...]:
    """The entities that a study collects."""
    wanted = {"videos"}
    if study.comments.videos != "none":
        wanted.add("comments")
    if study.users.who != "none":
        wanted.add("users")
    if study.panel:
        wanted |= {name for name, entity in ENTITIES.items() if entity.clock == "observation" and name != "users"}
    return tuple(name for name in ENTITIES if name in wanted)


def running_period(study: StudySpec, now: datetime) -> date:
    """The partition in which accounts are observed now."""
    return now.date() if study.observe == "daily" else week_of(now.date())


def read_facts(
    settings: Settings,
    studies: Sequence[StudySpec],
    pools: Mapping[str, PoolState],
    now: datetime,
    *,
    used: Mapping[str, Mapping[str, int]] | None = None,
    shown: Shown | None = None,
    raw: Raw | None = None,
) -> Facts:
    """The facts for a decision at `now`; without `shown`, nobody has to be shown anything.

    `raw` are the raw tables where the caller has them open.
    """
    standings: dict[Key, Mapping[date, Standing]] = {}
    density: dict[str, Mapping[date, float]] = {}
    canaries: dict[str, date] = {}
    with nullcontext(raw) if raw else Raw(settings.raw) as tables:
        for study in studies:
            reader = _Reader(settings, tables, study, now, shown)
            standings[study.name, "videos"], density[study.name] = reader.days()
            if (day := reader.canary()) is not None:
                canaries[study.name] = day
            for entity in entities_of(study):
                if entity == "comments":
                    standings[study.name, entity] = reader.comments(standings[study.name, "videos"])
                elif entity != "videos":
                    standings[study.name, entity] = reader.accounts(entity, standings[study.name, "videos"])
    return Facts(
        studies=tuple(studies),
        standings=standings,
        density=density,
        pools=pools,
        used=used or {},
        due_reserve=settings.due_reserve,
        page_size=settings.page_size,
        window_days=settings.window_days,
        parts={s.name: len(batches(named(s.query), settings.username_batch)) or 1 for s in studies},
        canaries=canaries,
    )


class _Reader:
    """Reads one study's standings."""

    def __init__(self, settings: Settings, raw: Raw, study: StudySpec, now: datetime, shown: Shown | None) -> None:
        self._settings, self._raw, self._study, self._now = settings, raw, study, now
        self._shown = shown

    def _is_shown(self, entity: str) -> Callable[[date], bool]:
        if self._shown is None:
            return lambda _: True
        seen = set(self._shown(self._study.name, entity))
        return lambda partition: partition in seen

    def days(self) -> tuple[dict[date, Standing], dict[date, float]]:
        """The days of the search, and the raw hits of those that are held."""
        rows = _coverage(
            self._raw,
            self._study.name,
            f"""
            SELECT partition, max(last_at) FILTER (state = 'complete'),
                arg_max(offered, last_at) FILTER (state = 'complete'),
                arg_max(struct_pack(state := state, next_try := next_try), {_NEWEST})
            FROM {{table}} WHERE entity = 'videos' AND unit_kind = 'day' GROUP BY partition
            """,
        )
        shown, lacking = self._is_shown("videos"), self._lacking()
        standings, density = {}, {}
        for day, looked_at, offered, newest in rows:
            ended = newest["state"] in SETTLED
            rests = not ended and newest["next_try"] is not None and newest["next_try"] > self._now
            standings[day] = Standing(
                open=int(not ended and not rests),
                resting=int(rests),
                wakes=newest["next_try"] if rests else None,
                looked_at=looked_at,
                tried=not ended,
                begun=newest["state"] == "partial",
                shown=shown(day),
                lacks=day in lacking,
            )
            if looked_at is not None:
                density[day] = float(offered)
        return standings, density

    def _lacking(self) -> set[date]:
        """Days that lack an account whose next try has come."""
        names = named(self._study.query)
        if not names:
            return set()
        rows = _coverage(
            self._raw,
            self._study.name,
            f"""
            SELECT partition FROM {{table}}
            WHERE entity = 'videos' AND unit_kind = 'account' AND list_contains(?, unit) GROUP BY partition, unit
            HAVING NOT bool_or(state = 'complete') AND arg_max(coalesce(next_try <= ?, true), {_NEWEST})
            """,
            list(names),
            self._now,
        )
        return {day for (day,) in rows}

    def canary(self) -> date | None:
        """The day whose videos are looked for now, if the study's last look is old enough."""
        rows = _coverage(
            self._raw,
            self._study.name,
            f"""
            SELECT
                array_agg(DISTINCT partition) FILTER (
                    unit_kind = 'day' AND state = 'complete' AND kept >= {SEVERAL} AND last_at <= ?
                ),
                max(last_at) FILTER (unit_kind = 'canary'),
                arg_max(next_try, last_at) FILTER (unit_kind = 'canary')
            FROM {{table}} WHERE entity = 'videos'
            """,
            self._now - EVERY,
        )
        if not rows:
            return None
        [(days, last, waits_until)] = rows
        return day_to_call(self._study, days or (), last, waits_until, self._now)

    def comments(self, days: Mapping[date, Standing]) -> dict[date, Standing]:
        """The comments of each day whose videos are held."""
        shown = self._is_shown("comments")
        seen = {
            day: (ended, moment)
            for day, ended, moment in _coverage(
                self._raw,
                self._study.name,
                f"""
                SELECT partition, bool_and(ended), max(moment) FROM (
                    SELECT partition, bool_or(state = 'complete') OR arg_max(state, {_NEWEST}) IN {_ENDED} AS ended,
                        max(last_at) AS moment
                    FROM {{table}} WHERE entity = 'comments' GROUP BY partition, unit_kind, unit
                ) GROUP BY partition
                """,
            )
        }
        held = {day: standing.looked_at for day, standing in days.items() if standing.looked_at is not None}
        standings, look = {}, []
        for day, looked_at in held.items():
            ended, moment = seen.get(day, (False, None))
            closed = ended and moment is not None and moment >= looked_at
            if closed or (day not in seen and self._shown is not None and shown(day)):
                standings[day] = Standing(looked_at=moment, shown=shown(day))
            else:
                look.append(day)
        replies = self._replies_a_page() if look else 0.0
        for day, units, targets in self._comment_units(look):
            standing = self._units("comments", targets, units, None)
            if not any(unit.verdict.unit_kind == "comment" for unit in units.values()) and replies:
                estimate = standing.estimate
                standing = replace(standing, estimate=replace(estimate, requests=estimate.requests * (1 + replies)))
            standings[day] = replace(standing, shown=shown(day))
        return standings

    def _comment_units(self, days: Sequence[date]) -> Iterator[tuple[date, Mapping[str, Held], list[Target]]]:
        """The units of comments that are known of each day, and those that are wanted; a month is read at a time."""
        for begin in range(0, len(days), _AT_A_TIME):
            some = days[begin : begin + _AT_A_TIME]
            held = read_held(
                self._raw, "comments", study=self._study.name, partitions=some, captures=self._settings.captures
            )
            known = _by_partition(held)
            videos = videos_by_day(self._raw, self._study, some)
            replies = replies_by_day(self._raw, self._study, some)
            for day in some:
                units = known.get(day, {})
                more = [one for one in replies.get(day, []) if _wants_more(units, one)]
                yield day, units, [*videos.get(day, []), *more]

    def accounts(self, entity: str, days: Mapping[date, Standing]) -> dict[date, Standing]:
        """The running period of an observed entity; nothing while no account is known, or once the study is over."""
        study, period = self._study, running_period(self._study, self._now)
        if entity == "users" and study.users.who != "panel" and not any(day.looked_at for day in days.values()):
            return {}
        earlier = _coverage(
            self._raw,
            study.name,
            "SELECT max(last_at) FROM {table} WHERE entity = ? AND partition < ?",
            entity,
            period,
        )
        found = days if entity == "users" and study.users.who != "panel" else {}
        if not observes(study, found, earlier[0][0] if earlier else None, self._now):
            return {}
        units = {
            record.verdict.unit: record
            for record in read_held(self._raw, entity, partitions=[period], captures=self._settings.captures)
            if record.study == study.name or record.verdict.state == "complete"
        }
        refused = {
            unit
            for (unit,) in _coverage(
                self._raw,
                "*",
                "SELECT DISTINCT unit FROM {table} WHERE entity = ? "
                "AND state IN ('refused', 'missing') AND next_try > ?",
                entity,
                self._now,
            )
        }
        standing = self._units(entity, account_targets(self._raw, study, entity), units, self._pages(entity), refused)
        return {period: replace(standing, shown=self._is_shown(entity)(period))}

    def _units(
        self,
        entity: str,
        targets: Iterable[Target],
        held: Mapping[str, Held],
        pages: float | None,
        refused: Collection[str] = (),
    ) -> Standing:
        """The standing of a partition of lists, from what is wanted and what is held of it."""
        opened: list[Target] = []
        rests: list[datetime] = []
        again, begun = 0, False
        for target in targets:
            record = held.get(target.unit)
            if record is None:
                if target.expected != 0 or target.kind != "video":
                    opened.append(target)
                continue
            verdict = record.verdict
            if verdict.state in SETTLED and not (target.kind == "comment" and _wants_more(held, target)):
                continue
            begun = begun or verdict.state in ("partial", "not_asked")
            if verdict.next_try is not None and verdict.next_try > self._now:
                rests.append(verdict.next_try)
            else:
                opened.append(target)
                again += 1
        moments = [record.verdict.last_at for record in held.values() if record.verdict.last_at is not None]
        paid = [target for target in opened if target.unit not in refused]
        settings = self._settings
        return Standing(
            open=len(opened),
            resting=len(rests),
            wakes=min(rests, default=None),
            looked_at=max(moments, default=None) if not opened and not rests else None,
            tried=bool(opened) and again == len(opened),
            begun=begun,
            estimate=total(
                a_list(entity, t.expected, pages, page_size=settings.page_size, ceiling=settings.comment_ceiling)
                for t in paid
            )
            if paid
            else NOTHING,
        )

    def _pages(self, entity: str) -> float | None:
        """Requests that a list of this entity took on average, over all studies."""
        [(mean,)] = _coverage(
            self._raw,
            "*",
            "SELECT avg(requests) FROM {table} WHERE entity = ? AND state = 'complete' AND requests > 0",
            entity,
        ) or [(None,)]
        return None if mean is None else float(mean)

    def _replies_a_page(self) -> float:
        """Requests for replies on each request for top-level comments, as they were in this study so far."""
        [(ratio,)] = _coverage(
            self._raw,
            self._study.name,
            """
            SELECT sum(requests) FILTER (unit_kind = 'comment') / nullif(sum(requests) FILTER (unit_kind = 'video'), 0)
            FROM {table} WHERE entity = 'comments'
            """,
        ) or [(None,)]
        return float(ratio or 0.0)


def _wants_more(held: Mapping[str, Held], target: Target) -> bool:
    """Whether a comment has more replies than when they were last asked: the collector's own rule."""
    record = held.get(target.unit)
    if record is None or record.verdict.state not in SETTLED:
        return True
    return (record.verdict.expected or 0) < (target.expected or 0)


def _by_partition(records: Iterable[Held]) -> dict[date, dict[str, Held]]:
    found: dict[date, dict[str, Held]] = {}
    for record in records:
        found.setdefault(record.verdict.partition, {})[record.verdict.unit] = record
    return found


_NEWEST = (
    "row(coalesce(last_at, timezone('UTC', try_strptime(left(capture, 16), '%Y%m%dT%H%M%SZ')), "
    "TIMESTAMPTZ '1970-01-01'), state <> 'partial', coalesce(capture, ''))"
)
"""What orders attempts: when they ended; a pause before the first page has no page to tell it, but its capture has a
moment. In one instant a window's rest is given to narrower windows and these are judged: `partial` is the older."""


def _coverage(raw: Raw, study: str, query: str, *values: Any) -> list[tuple[Any, ...]]:
    """Ask raw/coverage of a study (`*`: of all); `{table}` stands for its rows. No file holds no row."""
    return lookup(raw, "coverage", f"study={study}/day=*", query, values)


def journal_bytes(captures: Path, study: str, entity: str) -> int:
    """The size of the open journals: grows with each page, so that two looks tell whether a run got anywhere."""
    return sum(path.stat().st_size for path in (captures / entity / f"study={study}").glob("*/*.jsonl"))
