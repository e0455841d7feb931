"""How the days of a study's search stand, and which of them its canary is to call; read from raw/coverage.

A day is one unit here, whatever windows it was asked in. What is asked about its videos afterwards (comments, accounts)
is read in `standing_lists.py`; when a canary is due is decided in `observing.py`.
"""

from datetime import date, datetime

from research_assets.collect.accounts import batchable_usernames, days_missing_accounts
from research_assets.collect.agenda_model import PartitionStatus
from research_assets.collect.coverage import ATTEMPT_RECENCY, SETTLED, read_unit_status
from research_assets.collect.lookup import RawTables, query_raw
from research_assets.collect.observing import CANARY_INTERVAL, MIN_CANARY_VIDEOS, canary_day
from research_assets.collect.spec import StudySpec


def read_day_status(
    raw: RawTables, study: StudySpec, now: datetime
) -> tuple[dict[date, PartitionStatus], dict[date, float]]:
    """The days of the search, and the raw hits of those that are held."""
    rows = query_raw(
        raw,
        "coverage",
        f"study={study.name}/day=*",
        f"""
        SELECT partition, max(last_at) FILTER (state = 'complete'),
            arg_max(offered, last_at) FILTER (state = 'complete'),
            arg_max(struct_pack(state := state, next_try := next_try), {ATTEMPT_RECENCY})
        FROM {{table}} WHERE entity = 'videos' AND unit_kind = 'day' GROUP BY partition
        """,
    )
    # Only a search by accounts can lack one; for others what is held need not be read.
    held = read_unit_status(raw, "videos", study=study.name) if batchable_usernames(study.query) else []
    part = days_missing_accounts(study.query, held, now, retry=False)
    standings, density = {}, {}
    for day, looked_at, offered, newest in rows:
        ended = newest["state"] in SETTLED
        rests = not ended and newest["next_try"] is not None and newest["next_try"] > now
        standings[day] = PartitionStatus(
            open_units=int(not ended and not rests),
            waiting_units=int(rests),
            next_try=newest["next_try"] if rests else None,
            last_complete_at=looked_at,
            failed_before=not ended,
            in_progress=newest["state"] == "partial",
            is_missing_accounts=day in part,
        )
        if looked_at is not None:
            density[day] = float(offered)
    return standings, density


def read_canary_day(raw: RawTables, study: StudySpec, now: datetime) -> tuple[date | None, datetime | None]:
    """The day whose videos are looked for now, if the study's last look is old enough; and when that was."""
    rows = query_raw(
        raw,
        "coverage",
        f"study={study.name}/day=*",
        f"""
        SELECT
            array_agg(DISTINCT partition) FILTER (
                unit_kind = 'day' AND state = 'complete' AND kept >= {MIN_CANARY_VIDEOS} AND last_at <= ?
            ),
            max(last_at) FILTER (unit_kind = 'canary'),
            arg_max(next_try, last_at) FILTER (unit_kind = 'canary')
        FROM {{table}} WHERE entity = 'videos'
        """,
        [now - CANARY_INTERVAL],
    )
    if not rows:
        return None, None
    [(days, last, waits_until)] = rows
    return canary_day(study, days or (), last, waits_until, now), last
