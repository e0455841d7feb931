"""The section of a report on a study's sample of days: estimates for all days of the study, with standard errors.

Not here: the estimators (see estimates/stratified.py), the drawing of the sample (see study/day_sample.py).
"""

from collections import Counter
from collections.abc import Sequence
from datetime import date, datetime, timedelta

from research_assets.estimates.stratified import Estimated, Stratum, estimate_ratio, estimate_total
from research_assets.planning.messages import describe_day_sample, pluralize
from research_assets.report.data import SAMPLED_COUNTS, SampledDay
from research_assets.report.elements import ReportSection, ReportTable, number_columns, text_columns
from research_assets.report.formatting import format_number, join_words
from research_assets.study.spec import StudySpec


def strata_of(study: StudySpec, days: Sequence[SampledDay], last: date) -> list[Stratum]:
    """Return the strata of a study's days up to `last`, by weekday and then by period.

    Of a stratum only the days of the study count: the drawn ones are a simple random sample of them. The values of a
    complete day are its counts, and 1 for the day itself. An unknown count is 0, so its column has no meaning.
    """
    sample = study.day_sample
    if sample is None:
        return []
    by_day = {one.day: one for one in days if one.is_complete}
    sizes = Counter(sample.stratum(study.start + timedelta(days=n)) for n in range((last - study.start).days + 1))
    strata = []
    for stratum, size in sizes.items():
        found = [by_day[day] for day in stratum.drawn if study.start <= day <= last and day in by_day]
        values = tuple((*(count or 0.0 for count in one.counts), 1.0) for one in found)
        weekday = stratum.drawn[0].weekday() if "weekday" in sample.by else 0
        strata.append((weekday, stratum.name, Stratum(size, values, group=weekday)))
    return [one for *_, one in sorted(strata, key=lambda one: one[:2])]


def day_sample_section(study: StudySpec, days: Sequence[SampledDay], now: datetime) -> ReportSection | None:
    """Return the section; None for a study without a sample of days. `now` is the time of the marts."""
    if study.day_sample is None:
        return None
    last = study.last_settled_day(now)
    due = [one for one in days if study.start <= one.day <= last]
    complete = [one for one in due if one.is_complete]
    sentences = [describe_day_sample(study, now)]
    name, title = "day_sample", "Sample of days"
    if not complete:
        return ReportSection(name, title, [*sentences, "No sampled day is complete yet, so nothing is estimated."])
    n_days = (last - study.start).days + 1
    sentences.append(
        f"The estimates are for all {pluralize(n_days, 'day')} from {study.start} to {last} (UTC) and rest on "
        f"{pluralize(len(complete), 'complete sampled day')}. In each stratum, the mean of these days stands for all "
        "days of the study. Totals are sums over the strata, and means are totals divided by the number of days, or by "
        "the estimated number of videos. Standard errors are those of stratified sampling without replacement; "
        "intervals are 95 % intervals with quantiles of t."
    )
    if len(due) > len(complete):
        sentences.append(
            f"{pluralize(len(due) - len(complete), 'sampled day')} {'is' if len(due) - len(complete) == 1 else 'are'} "
            "not complete and left out, as if missing at random within the stratum."
        )
    strata = strata_of(study, days, last)
    if n_empty := sum(not one.values for one in strata):
        sentences.append(
            f"{pluralize(n_empty, 'stratum', 'strata')} without a complete sampled day "
            f"{'is' if n_empty == 1 else 'are'} joined to a neighbour, of the same weekday if there is one."
        )
    if any(len(one.values) == 1 for one in strata):
        sentences.append(
            "A stratum with one sampled day shows no variance. Such strata are collapsed in pairs, of the same weekday "
            "in neighbouring periods where there are some. Their standard errors are rather too high than too low."
        )
    rows: list[list[str]] = []
    unknown: list[str] = []
    for column, label in enumerate(SAMPLED_COUNTS.values()):
        if any(one.counts[column] is None for one in complete):
            unknown.append(label)
            continue
        total, per_day = estimate_total(strata, column), estimate_ratio(strata, column, len(SAMPLED_COUNTS))
        rows.append([f"{label}, total", *_cells(total)])
        rows.append([f"{label}, mean of a day", *_cells(per_day)])
        if column:
            rows.append([f"{label}, mean of a video", *_cells(estimate_ratio(strata, column, 0))])
    columns = [*text_columns("quantity"), *number_columns("estimate", "standard error", "low", "high")]
    note = (
        "Estimates for all days of the study, sampled or not. Counts are those of the newest observation of each "
        "video. Weights of single videos and comments: sampling_weight in the tables videos and comments, the inverse "
        "of the inclusion probability. Sums with these weights differ from the totals if a sampled day is not "
        "complete, or if a stratum has days outside of the study."
    )
    if any(value and not error for _, value, error, *_ in rows):
        note += " An estimate has no standard error if the sampled days show none, for example because they are equal."
    if unknown:
        note += f" No estimate, because the videos of at least one day have no such count: {join_words(unknown)}."
    return ReportSection(name, title, sentences, [], [ReportTable("Estimates for all days", columns, rows, note=note)])


def _cells(estimated: Estimated | None) -> list[str]:
    if estimated is None:
        return ["", "", "", ""]
    interval = estimated.interval()
    # A count is never negative; the interval of a skewed total may reach below 0.
    bounds = ["", ""] if interval is None else [_number(max(0.0, interval[0])), _number(interval[1])]
    error = "" if estimated.standard_error is None else _number(estimated.standard_error)
    return [_number(estimated.value), error, *bounds]


def _number(value: float) -> str:
    return format_number(round(value) if abs(value) >= 100 else round(value, 2))
