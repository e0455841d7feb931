"""How long accounts are observed: period after period while a study goes on, and once more when it is over. Pure."""

from collections.abc import Mapping
from datetime import date, datetime, timedelta

from research_assets.clock import midnight
from research_assets.collect.agenda_model import Standing
from research_assets.collect.spec import StudySpec


def observes(study: StudySpec, days: Mapping[date, Standing], seen_at: datetime | None, now: datetime) -> bool:
    """Whether a new period of a study's accounts begins by itself; `seen_at` is the last moment of earlier periods.

    A study is under way until its last day has reached the last of its ages. `days` are those whose videos name the
    accounts, none for a panel: as long as some are missing, not all accounts are known. After that accounts are
    observed for one period more.
    """
    if study.end is None:
        return True
    ages = max(study.settle_days, *study.reobserve_days, 0)
    over = midnight(study.end) + timedelta(days=1 + ages)
    if now < over or seen_at is None:
        return True
    number = (study.end - study.start).days + 1
    for offset in range(number if days else 0):
        standing = days.get(study.start + timedelta(days=offset))
        if standing is None or standing.open:
            return True
        if standing.looked_at is not None:
            over = max(over, standing.looked_at)
    return seen_at < over
