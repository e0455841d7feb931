"""The partitions of the collected assets: the UTC days of content, and the periods of observed entities.

Not here: the assets (see assets/collected.py), and the periods that hold data (see units/periods.py).
"""

from datetime import timedelta

import dagster as dg

from research_assets.clock import SystemClock, midnight
from research_assets.fields import ENTITIES
from research_assets.study.spec import StudySpec
from research_assets.units.periods import ObservedPeriods, current_period, period_length

EXCLUSION_HORIZON = timedelta(days=366)
"""Time for which the partitions of an open-ended study leave out days that are not sampled. The collector refuses them
after that too, and each start of the code location moves it."""


def partitions_def(
    study: StudySpec, entity: str, periods: ObservedPeriods | None = None
) -> dg.TimeWindowPartitionsDefinition:
    """Return UTC days from start to end for content, and the `periods` up to the running one for observed entities.

    Days that were not sampled are no partitions.

    Without `periods` they begin with the running one, because a past period cannot be collected. Observation continues
    after the study's last day, because the authors of its videos still exist.
    """
    if ENTITIES[entity].time_axis == "content":
        content_end = (study.end + timedelta(days=1)).isoformat() if study.end else None
        last = study.end or max(study.start, SystemClock().now().date()) + EXCLUSION_HORIZON
        skipped = [midnight(day) for day in study.days_not_sampled(study.start, last)] or None
        return dg.DailyPartitionsDefinition(
            start_date=study.start.isoformat(), end_date=content_end, exclusions=skipped
        )
    periods = periods or ObservedPeriods(current_period(study, SystemClock().now()))
    end = (periods.last + period_length(study)).isoformat() if periods.last else None
    missed = [midnight(period) for period in periods.never_observed] or None
    first = periods.first.isoformat()
    if study.observe == "daily":
        return dg.DailyPartitionsDefinition(start_date=first, end_date=end, end_offset=1, exclusions=missed)
    return dg.WeeklyPartitionsDefinition(start_date=first, end_date=end, day_offset=1, end_offset=1, exclusions=missed)
