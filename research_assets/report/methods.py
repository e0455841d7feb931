"""The methods section of a report: paragraphs for the methods section of a paper, the query as sent, and tables.

Paragraphs are in the past tense and passive or neutral, name the numerator and denominator of every share, and avoid
terms of this project, so that they can be used unchanged. Numbers are those of the marts; design parameters are those
of the study file.
Not here: the other sections (see sections.py), the SQL behind the numbers (see queries.py).
"""

import json
import platform
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version

from research_assets.fields import ENTITIES
from research_assets.planning.messages import pluralize
from research_assets.report.data import (
    ApiChange,
    DayAges,
    DistinctMissing,
    ObservationAges,
    ReportData,
    SampledComments,
    UnitGroup,
)
from research_assets.report.drawing import change_markers
from research_assets.report.elements import ReportSection, ReportTable, number_columns, text_columns, time_columns
from research_assets.report.formatting import (
    NO_VALUE,
    change_period,
    describe_query,
    error_text,
    format_day,
    format_day_and_time,
    format_interval,
    format_minute,
    format_number,
    format_percent,
    format_share,
    join_words,
    unit_nouns,
    was_were,
)
from research_assets.study.spec import QueryGroups, StudySpec

MAX_REASONS = 8
"""Maximum number of reasons in the sentence about missing data; the coverage section has a table of all reasons."""

MAX_OBSERVATIONS = 6
"""Maximum number of observations of a video whose ages are stated."""

_ORDINALS = {1: "first time", 2: "second time", 3: "third time", 4: "fourth time", 5: "fifth time", 6: "sixth time"}

SOFTWARE = ("research-assets", "dagster", "dbt-core", "duckdb", "altair", "vl-convert-python")
"""Packages whose versions are stated."""

DATE_BASIS_LABELS = {"published": "publication date", "observed": "collection date"}
"""The date of a row that decides whether an API change affects it."""

NUMBERING_NOTE = (
    "Numbers are those on the charts and in the codebook. A change that depends on the collection date affects every "
    "row that was collected while it was in force, regardless of its publication date."
)

_MISSING_LABELS = {
    "partial": "partially collected",
    "too_fresh": "too recent for collection",
    "suspicious": "unexpectedly empty, to be verified",
    "refused": "refused by the API",
    "missing": "not found",
    "quarantined": "repeatedly failed",
    "not_asked": "not requested",
}
"""Why a unit is missing, by its state, in the terms of a paper."""

_LISTS = ("followers", "following", "liked_videos", "reposted_videos", "pinned_videos")


PSEUDONYMS = " The handles of accounts were replaced by keyed pseudonyms before the data were stored."


def methods_section(
    data: ReportData, study: StudySpec, origin: str, written: datetime, design: str = ""
) -> ReportSection:
    """Return the methods section. `origin` is the address of the API, or `sandbox`; `design` see `design_text`.

    The order is that of reporting standards for observational studies (JARS-Quant; STROBE, items 5 to 13) and of
    disclosure items for platform data.
    """
    paragraphs = {
        "Data access": _access(origin) + (PSEUDONYMS if study.pseudonymous else ""),
        "Target population": _population(study) + _outside(data, study),
        "Study file": design,
        "Retrieval": " ".join(filter(None, (_retrieval(data), _ages(data, study), _repeats(study)))),
        "Yield": _yield(data),
        "Attrition": _attrition(data),
        "Comments": _comments(data, study),
        "Accounts": _accounts(data, study),
        "Playlists": _playlists(data, study),
        "Sampling": _sampling(data, study),
        "Missing data": _missing(data, study),
        "Requests": _requests(data),
        "API changes": _api_changes(data),
        "Software": _software(data, written),
        "Data availability": _availability(data),
    }
    tables = [totals_table(data), requested_fields_table(study)]
    if data.overall.videos:
        tables.append(column_fill_table(data))
    if data.api_changes:
        tables.append(api_changes_table(data.api_changes))
    present = [(heading, text) for heading, text in paragraphs.items() if text]
    return ReportSection("methods", "Methods", present, tables=tables, code=_query_json(study.query))


def _query_json(query: QueryGroups) -> str:
    """Return the query as JSON with one condition per line."""
    groups = [
        f"    {json.dumps(name)}: [\n"
        + ",\n".join(f"      {json.dumps(dict(condition), ensure_ascii=False)}" for condition in conditions)
        + "\n    ]"
        for name, conditions in query.items()
    ]
    return '{\n  "query": {\n' + ",\n".join(groups) + "\n  }\n}"


def _access(origin: str) -> str:
    if origin == "sandbox":
        return (
            "These data are simulated. They were collected from a sandbox that imitates TikTok's Research API, and do "
            "not describe real videos or accounts."
        )
    return (
        f"Data were collected with TikTok's Research API ({origin}), to which TikTok grants access to approved "
        "research projects. The API returns public content only."
    )


def _population(study: StudySpec) -> str:
    period = f"from {format_day(study.start)} (UTC) onwards"
    if study.end:
        period = f"between {format_day(study.start)} and {format_day(study.end)} (UTC)"
    if study.end == study.start:
        period = f"on {format_day(study.start)} (UTC)"
    return (
        f"The target population comprised all public videos published {period} that met the following criteria: "
        f"{describe_query(study.query)}. The query is reproduced verbatim below."
    )


def _outside(data: ReportData, study: StudySpec) -> str:
    """Return which days do not belong to the target population, such as those of a study that was shortened."""
    days = data.days_outside(study.start, study.end)
    if not days:
        return ""
    n_videos = sum(one.videos for one in days)
    return (
        f" The data also contain {pluralize(len(days), 'day')} outside of this period, the first of them "
        f"{format_day(days[0].day)} and the last {format_day(days[-1].day)}, with {pluralize(n_videos, 'video')}. "
        "All numbers of this report include them."
    )


def _retrieval(data: ReportData) -> str:
    """Return the dates of requests and of observations of videos."""
    if not data.overall.requests:
        return ""
    first, last = data.observed_range
    observed = (
        f" Videos were observed between {format_day_and_time(first)} and {format_day_and_time(last)}." if first else ""
    )
    return (
        f"Data were retrieved between {format_day_and_time(data.overall.first_request)} and "
        f"{format_day_and_time(data.overall.last_request)}.{observed}"
    )


def _ordinal_observation(number: int) -> str:
    word = _ORDINALS[number].partition(" ")[0] if number in _ORDINALS else f"{number}th"
    return f"{word} observation of their day"


def _ordinal(number: int) -> str:
    return _ORDINALS.get(number, f"observation {number}")


def _ages(data: ReportData, study: StudySpec) -> str:
    """Return the actual ages of days and videos at their observations, beside the planned ones."""
    days = data.day_ages
    if not days.days:
        return ""
    planned = [str(age) for age in study.reobserve_days]
    plan = f"; re-observation was planned at {'an age' if len(planned) == 1 else 'ages'} of {join_words(planned)} days"
    later = [
        f"{_ordinal(one.number)} at a median age of {_age_range(one)} ({pluralize(one.videos, 'video')})"
        for one in data.observation_ages[:MAX_OBSERVATIONS]
    ]
    videos = f" Videos were observed for the {join_words(later)} after publication." if later else ""
    overall, age = data.overall, data.ages[0]
    counts = (
        " Counts of views, likes, comments and shares were taken from the newest observation of each video, when the "
        f"median age of the {pluralize(overall.videos, 'video')} was {format_number(age.median)} days; "
        f"{format_number(data.n_young)} ({format_share(data.n_young, overall.videos)}) {was_were(data.n_young)} "
        "younger than 10 days, the documented maximum age of counts at delivery."
        if overall.videos
        else ""
    )
    return (
        f"The {pluralize(days.days, 'complete day')} {was_were(days.days)} first collected at a median age of "
        f"{_age_range(days)} after the end of the day{plan if planned else ''}.{videos}{counts}"
    )


def _repeats(study: StudySpec) -> str:
    if not study.repeat:
        return ""
    return (
        f"To assess repeatability, {format_percent(study.repeat)} of the complete days, chosen at random, were planned "
        "for a second collection within a day of the first."
    )


def _age_range(ages: DayAges | ObservationAges) -> str:
    return (
        f"{format_number(ages.median)} days (range {format_number(ages.youngest)} to {format_number(ages.oldest)} days)"
    )


def _yield(data: ReportData) -> str:
    days, overall = combine_units(data, "videos", "day"), data.overall
    if not days.last_at:
        return "No day had been requested when this report was written."
    n_complete = combine_units(data, "videos", "day", "complete").units
    n_searched = n_complete + sum(
        group.units for group in data.units if (group.kind, group.state) == ("day", "suspicious")
    )
    if n_searched and not days.offered and not overall.videos:
        return (
            f"No video was found for this query: the API reported no matching video on any of the "
            f"{pluralize(n_searched, 'searched day')}. Empty responses do not show whether the query matches no public "
            "video or was not answered."
        )
    complete = (
        f"Of {pluralize(days.units, 'day')}, {format_number(n_complete)} ({format_share(n_complete, days.units)}) "
        f"{was_were(n_complete)} complete."
    )
    total = f"{pluralize(overall.videos, 'distinct video')} by {pluralize(overall.creators, 'creator')}"
    if not n_complete:
        return f"{complete} The dataset comprised {total}."
    n_withheld = days.first_offered - days.first_kept
    withheld = (
        f" The other {format_number(n_withheld)} ({format_share(n_withheld, days.first_offered)}) "
        f"{was_were(n_withheld)} reported but not returned{_unusable_videos(data)}; the API gives no reason."
        if n_withheld > 0
        else ""
    )
    return (
        f"{complete} At the first complete observation of each day, the API reported "
        f"{pluralize(days.first_offered, 'matching video')}, of which {format_number(days.first_kept)} "
        f"({format_share(days.first_kept, days.first_offered)}{_yield_interval(data)}) {was_were(days.first_kept)} "
        "returned and retained."
        f"{withheld} The dataset comprised {total} from all observations."
    )


def _unusable_videos(data: ReportData) -> str:
    n_elements = sum(one.elements for one in data.rejected if one.entity == "videos")
    return f", or no usable rows ({pluralize(n_elements, 'element')} in all observations)" if n_elements else ""


def _yield_interval(data: ReportData) -> str:
    return f"; {format_interval(data.first_yield.interval())}" if data.first_yield else ""


def _attrition(data: ReportData) -> str:
    """Return how many videos later observations added, and how many they did not return again."""
    if not any(times > 1 for times, _ in data.observations):
        return ""
    found = data.attrition
    if not found.n_videos:
        return ""
    of_days = " of days with a complete observation" if found.n_videos < data.overall.videos else ""
    return (
        f"Of {pluralize(found.n_videos, 'distinct video')}{of_days}, {format_number(found.n_added)} "
        f"({format_share(found.n_added, found.n_videos)}) {was_were(found.n_added)} not "
        f"returned by the first complete observation of their day, and {format_number(found.n_gone)} "
        f"({format_share(found.n_gone, found.n_videos)}) {was_were(found.n_gone)} not returned again by the newest one "
        f"or since (attrition).{_survival(data)}"
    )


def _survival(data: ReportData) -> str:
    """Return the estimated share of videos that the newest observations still returned."""
    last = data.rounds[-1] if data.rounds else None
    if not last or not last.survival or not (interval := last.survival.interval()):
        return ""
    method = "jackknife by creator" if last.survival.is_clustered else "Greenwood's variance"
    return (
        f" By the product-limit estimator over complete observations, {format_percent(last.survival.share)} "
        f"({format_interval(interval)}; {method}) of the videos were still returned by the "
        f"{_ordinal_observation(last.number)}, at a median age of {format_number(last.age)} days."
    )


def _comments(data: ReportData, study: StudySpec) -> str:
    rule = study.comments
    if rule.videos == "none":
        return "Comments were not collected."
    videos = {
        "all": "all videos with a comment count above zero",
        "top": f"the {format_number(rule.n)} most commented videos of each day",
        "sample": f"a random sample of {format_percent(rule.fraction)} of each day's videos (seed {rule.seed})",
    }[rule.videos]
    replies = "including" if rule.replies == "all" else "excluding"
    lists, overall = combine_units(data, "comments", "video"), data.overall
    complete = combine_units(data, "comments", "video", "complete")
    expected = (
        f"; the comment counts of these videos added up to {format_number(complete.expected)}"
        if complete.expected
        else ""
    )
    excess = (
        ". The lists contain more comments than the counts because the counts were up to 10 days old and were observed "
        "before the lists"
        if complete.expected and complete.kept > complete.expected
        else ""
    )
    return (
        f"Comments were collected for {videos}, {replies} replies. Of {pluralize(lists.units, 'selected video')}, "
        f"{format_number(complete.units)} ({format_share(complete.units, lists.units)}) had a complete comment list. "
        f"{_zero_counts(data, study)}{_comment_ages(data)}"
        f"In total, {pluralize(overall.comments, 'comment')} and {pluralize(overall.replies, 'reply', 'replies')} were "
        f"retained. The newest complete lists contained {pluralize(complete.kept, 'comment')}{expected}{excess}."
    )


def _zero_counts(data: ReportData, study: StudySpec) -> str:
    """Return how comment counts of zero were treated, and how many were not confirmed."""
    if not study.count_lag_days:
        return "A video with a comment count of zero was considered complete without a request. "
    n_unconfirmed = sum(
        group.units
        for group in data.units
        if (group.entity, group.kind, group.state) == ("comments", "video", "too_fresh")
    )
    unconfirmed = (
        f"; {pluralize(n_unconfirmed, 'video')} with an earlier count of zero {was_were(n_unconfirmed)} not counted as "
        "complete"
        if n_unconfirmed
        else ""
    )
    planned = (
        ", and no such observation was planned"
        if n_unconfirmed and study.confirming_reobservation_age() is None
        else ""
    )
    return (
        f"Comment counts were assumed to be up to {pluralize(study.count_lag_days, 'day')} old when the API returned "
        "them. A video with a comment count of zero was therefore considered complete without a request only if the "
        f"count was observed at least {pluralize(study.count_confirmation_age, 'day')} after the end of the day of "
        f"publication{unconfirmed}{planned}. "
    )


def _comment_ages(data: ReportData) -> str:
    """Return at which age of the videos their comments were requested."""
    ages = data.comment_ages
    if not ages.videos or ages.youngest is None or ages.oldest is None:
        return ""
    return (
        f"Comments were last requested at a median age of {format_number(ages.median)} days after publication (range "
        f"{format_number(ages.youngest)} to {format_number(ages.oldest)} days; {pluralize(ages.videos, 'video')}). "
    )


def _accounts(data: ReportData, study: StudySpec) -> str:
    sentences = []
    profiles = combine_units(data, "users")
    if profiles.units:
        accounts = {
            "authors": "the authors of the videos",
            "top": f"the {format_number(study.users.n)} authors with the most videos",
            "panel": "the accounts of a panel",
            "none": "selected accounts",
        }[study.users.who]
        [observed] = [one for one in data.accounts if one.entity == "users"]
        waves = (
            f", and {format_number(observed.always_observed)} "
            f"({format_share(observed.always_observed, observed.accounts)}) in each wave in which they were due. Of "
            f"{pluralize(observed.observations, 'planned observation')} of an account in a wave, "
            f"{format_number(observed.complete)} ({format_share(observed.complete, observed.observations)}) "
            f"{was_were(observed.complete)} complete"
            if observed.waves > 1
            else ""
        )
        sentences.append(
            f"Profiles of {accounts} were observed {study.observe}, in {pluralize(observed.waves, 'wave')}. Of "
            f"{pluralize(observed.accounts, 'account')}, {format_number(observed.observed)} "
            f"({format_share(observed.observed, observed.accounts)}) {was_were(observed.observed)} observed at least "
            f"once{waves}."
        )
    if study.panel:
        panel = f"a panel of {pluralize(len(study.panel), 'account')}"
        lists = [
            f"{format_number(one.observed)} of {pluralize(one.accounts, *unit_nouns(one.entity, 'account'))} "
            f"({pluralize(one.waves, 'wave')}; {pluralize(combine_units(data, one.entity).kept, 'row')} in all waves)"
            for one in data.accounts
            if one.entity in _LISTS
        ]
        sentences.append(
            f"The lists of {panel} were observed {study.observe}. Of these lists, {join_words(lists)} were complete at "
            "least once."
            if lists
            else f"The study included {panel}, whose lists had not been requested when this report was written."
        )
    return " ".join(sentences)


def _playlists(data: ReportData, study: StudySpec) -> str:
    if not study.playlists:
        return ""
    playlists = [one for one in data.accounts if one.entity == "playlists"]
    if not playlists:
        return "The playlists of the videos had not been requested when this report was written."
    [observed] = playlists
    return (
        f"The playlists that contain the videos were observed {study.observe}, in {pluralize(observed.waves, 'wave')}: "
        f"their names, and the ids of their videos. Of {pluralize(observed.accounts, 'playlist')}, "
        f"{format_number(observed.observed)} ({format_share(observed.observed, observed.accounts)}) "
        f"{was_were(observed.observed)} observed at least once."
    )


def _requests(data: ReportData) -> str:
    overall = data.overall
    if not overall.requests:
        return "No request had been sent when this report was written."
    n_failed = overall.failed - overall.refused
    return (
        f"A total of {pluralize(overall.requests, 'request')} {was_were(overall.requests)} sent; "
        f"{format_number(n_failed)} ({format_share(n_failed, overall.requests)}) failed and "
        f"{format_number(overall.refused)} ({format_share(overall.refused, overall.requests)}) "
        f"{was_were(overall.refused)} rejected because the daily quota was exhausted."
    )


def _availability(data: ReportData) -> str:
    """Return under which condition others can obtain the data."""
    if not data.overall.videos:
        return ""
    return (
        "The terms of the API do not permit the publication of the data. Their ids can be shared with researchers who "
        "have access to the API and can retrieve them again; videos that the API no longer returns cannot be retrieved."
    )


def _missing(data: ReportData, study: StudySpec) -> str:
    n_units = data.n_distinct_units
    if not n_units:
        return "No data were due for collection when this report was written."
    rejected, waves = _rejected(data), _incomplete_waves(data)
    if not data.missing:
        if rejected or waves:
            complete = f"{was_were(n_units)} complete{' at least once' if waves else ''}"
            return f"All {pluralize(n_units, 'unit')} of collection {complete}.{waves}{rejected}"
        return f"No data were missing: all {pluralize(n_units, 'unit')} of collection {was_were(n_units)} complete."
    reasons = [_missing_reason(data, one) for one in data.missing[:MAX_REASONS]]
    n_more = len(data.missing) - len(reasons)
    more = f"; and others for {pluralize(n_more, 'further reason')}" if n_more else ""
    n_missing = sum(one.units for one in data.missing)
    n_incomplete = sum(day.state != "complete" for day in data.days)
    population = "population on the sampled days" if study.day_sample else "population"
    days = (
        f" Of the {population}, the videos of {format_number(n_incomplete)} of {pluralize(len(data.days), 'day')} "
        f"({format_share(n_incomplete, len(data.days))}) were missing or incomplete; their number is not known."
        if n_incomplete
        else ""
    )
    return (
        f"Of {pluralize(n_units, 'unit')} of collection (days, comment lists, profiles and lists of accounts; each "
        f"account counts once), {format_number(n_missing)} ({format_share(n_missing, n_units)}) {was_were(n_missing)} "
        f"missing, by reason: {'; '.join(reasons)}{more}.{days}{waves}{rejected} Missing units are tabulated by "
        "reason in the section on coverage."
    )


def _incomplete_waves(data: ReportData) -> str:
    """Return how many observations of accounts are missing. An account that one wave observed is no missing unit."""
    if not any(one.waves > 1 for one in data.accounts):
        return ""
    n_planned = sum(one.observations for one in data.accounts)
    n_incomplete = n_planned - sum(one.complete for one in data.accounts)
    if not n_incomplete:
        return ""
    return (
        f" Of {pluralize(n_planned, 'planned observation')} of a profile, a list or a playlist in a wave, "
        f"{format_number(n_incomplete)} ({format_share(n_incomplete, n_planned)}) {was_were(n_incomplete)} not "
        "complete."
    )


def _rejected(data: ReportData) -> str:
    """Return how many elements of the responses, and values of rows, could not be used."""
    n_elements = sum(one.elements for one in data.rejected)
    n_values = sum(one.values for one in data.rejected)
    elements = (
        f" {pluralize(n_elements, 'element')} of the responses, such as elements without an id, {was_were(n_elements)} "
        f"not usable and {was_were(n_elements)} excluded."
        if n_elements
        else ""
    )
    values = (
        f" {pluralize(n_values, 'value')} of retained rows {was_were(n_values)} not usable and {was_were(n_values)} "
        "left empty."
        if n_values
        else ""
    )
    return elements + values


def _missing_reason(data: ReportData, one: DistinctMissing) -> str:
    """Return a reason with the share of the videos and of their views that it concerns."""
    overall = data.overall
    stake = (
        f"; {format_share(one.videos, overall.videos)} of the videos with {format_share(one.views, overall.views)} of "
        "the views"
        if one.videos
        else ""
    )
    label = _MISSING_LABELS.get(one.state, one.state)
    return f"{pluralize(one.units, *unit_nouns(one.entity, one.kind))} {label} ({one.reason.rstrip('.')}{stake})"


def _sampling(data: ReportData, study: StudySpec) -> str:
    sample = study.day_sample
    if sample is None:
        return _sampling_on_days(data, study)
    strata = f" within strata of {' and '.join(sample.by)}" if sample.by else ""
    return (
        f"Days were sampled at random without replacement{strata} (share {sample.share:g} of each stratum, at least "
        f"one day; seed {sample.seed}). The inclusion probability of each day (table study_days, column "
        "inclusion_probability) and the weight of each video (table videos, column sampling_weight) are provided in "
        f"the dataset. On the sampled days: {_sampling_on_days(data, study)}"
    )


def _sampling_on_days(data: ReportData, study: StudySpec) -> str:
    if not data.sampled:
        if study.comments.videos == "top":
            return (
                "Comments were collected for the most commented videos only. These videos are not a random sample, so "
                "no sampling weights apply."
            )
        if study.comments.videos == "sample":
            return "No comment list had been selected when this report was written."
        if study.day_sample:
            return "No further sampling was applied; the videos and comments of a day have the weight of the day."
        return "No sampling was applied; every unit had an inclusion probability and a sampling weight of 1."
    sampled = []
    for group in data.sampled:
        nouns = unit_nouns(group.entity, "video" if group.entity == "comments" else "unit")
        weight = format_number(round(1 / group.inclusion_probability, 2))
        sampled.append(
            f"{pluralize(group.units, *nouns)} {was_were(group.units)} sampled with inclusion probability "
            f"{group.inclusion_probability:g} (sampling weight {weight})"
        )
    return (
        f"For the collection of these data, {join_words(sampled)}.{_sampled_share(data)} The sampling "
        "weight of each comment is provided in the dataset (table comments, column sampling_weight)."
    )


def _sampled_share(data: ReportData) -> str:
    sample = data.sampled_comments
    if sample.estimate is None:
        return ""
    return (
        f" Complete lists of comments of {format_number(sample.sampled)} of {pluralize(sample.videos, 'video')} "
        f"({format_share(sample.sampled, sample.videos)}) were retained; each video was drawn independently of the "
        f"others. Weighted by the inverse inclusion probability, their {pluralize(sample.comments, 'comment')} "
        f"(with replies) represent {format_number(round(sample.estimate))}{error_text(sample.standard_error)}. "
        f"{without_list_text(sample)}"
    ).rstrip()


def without_list_text(sample: SampledComments) -> str:
    """Return how many sampled videos have no complete list, which a total counts as videos without comments."""
    n_without = sample.drawn - sample.sampled
    if not n_without:
        return ""
    return (
        f"{pluralize(n_without, 'further sampled video')} {'has' if n_without == 1 else 'have'} no complete list; the "
        "total counts them as videos without comments, so that it is a lower bound."
    )


def _api_changes(data: ReportData) -> str:
    if not data.api_changes:
        return "No documented change or incident of the API is listed for the publication or collection dates."
    dates = {
        "published": [day.day for day in data.days],
        "observed": [*(one.day for one in data.daily_requests), *(at.date() for at in data.observed_range if at)],
    }
    edges = [
        marker.text
        for date_basis, days in dates.items()
        if days
        for marker in change_markers(data.api_changes_of(date_basis), min(days), max(days))
    ]
    n_changes = len(data.api_changes)
    during = (
        f"The following began or ended within these dates: {'; '.join(dict.fromkeys(edges))}. Data from before and "
        "after these changes should be compared with caution."
        if edges
        else "None of them began or ended within these dates, so none of them separates earlier from later data."
    )
    return (
        "The publication or collection dates of these data were affected by "
        f"{pluralize(n_changes, 'documented change or incident', 'documented changes or incidents')} of the API (see "
        f"table, with sources). {during}"
    )


def _software(data: ReportData, written: datetime) -> str:
    packages = [f"{name} {installed}" for name in SOFTWARE if (installed := _installed_version(name))]
    return (
        f"The dataset was built on {format_day_and_time(data.built_at)}. This report was written on "
        f"{format_day_and_time(written)} with {join_words([*packages, f'Python {platform.python_version()}'])}."
    )


def _installed_version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def combine_units(data: ReportData, entity: str, kind: str | None = None, state: str | None = None) -> UnitGroup:
    """Return the units of an entity, or of one kind or state of it, as one group; by default over all of them."""
    groups = [
        group
        for group in data.units
        if group.entity == entity and kind in (None, group.kind) and state in (None, group.state)
    ]
    expected = [group.expected for group in groups if group.expected is not None]
    first = [group.first_at for group in groups if group.first_at]
    last = [group.last_at for group in groups if group.last_at]
    return UnitGroup(
        entity=entity,
        kind=kind or "",
        state=state or "",
        units=sum(group.units for group in groups),
        asked=sum(group.asked for group in groups),
        offered=sum(group.offered for group in groups),
        kept=sum(group.kept for group in groups),
        expected=sum(expected) if expected else None,
        requests=sum(group.requests for group in groups),
        first_at=min(first, default=None),
        last_at=max(last, default=None),
        first_offered=sum(group.first_offered for group in groups),
        first_kept=sum(group.first_kept for group in groups),
    )


def totals_table(data: ReportData) -> ReportTable:
    """Return the units, rows, requests and retrieval dates of each entity."""
    rows = []
    for entity in ENTITIES:
        group = combine_units(data, entity)
        if group.units:
            rows.append(
                [entity, format_number(group.units), format_number(group.asked), format_number(group.offered),
                 format_number(group.kept), format_number(round(group.requests, 1)),
                 format_minute(group.first_at), format_minute(group.last_at)]
            )  # fmt: skip
    columns = [
        *text_columns("entity"),
        *number_columns("units", "rows requested", "rows reported by the API", "rows retained", "requests"),
        *time_columns("first retrieval (UTC)", "last retrieval (UTC)"),
    ]
    note = (
        "Rows requested, reported and retained are those of the newest complete attempt at each unit, or of its newest "
        "attempt without one; requests and dates are those of all attempts. The section on volume has the yield of the "
        "first observation of each day."
    )
    return ReportTable("Requested, reported and retained", columns, rows, is_collapsed=False, note=note)


def requested_fields_table(study: StudySpec) -> ReportTable:
    """Return the fields that the requests for each entity name."""
    requested = {name: study.fields.get(name, entity.requested) for name, entity in ENTITIES.items()}
    rows = [[name, ", ".join(names) or "none (no such parameter)"] for name, names in requested.items()]
    return ReportTable("Requested fields", text_columns("entity", "fields"), rows)


def column_fill_table(data: ReportData) -> ReportTable:
    """Return the fill rates of the columns of the mart `videos`."""
    rows = [
        [
            one.column,
            one.description,
            one.since or NO_VALUE,
            format_number(one.filled),
            format_share(one.filled, data.overall.videos),
        ]
        for one in data.column_fill
        if one.column != "study"
    ]
    columns = [*text_columns("column", "description", "available since"), *number_columns("filled", "share")]
    note = f"Filled: videos with a value. Share: filled of {pluralize(data.overall.videos, 'video')}."
    if any(one.since for one in data.column_fill):
        note += " The codebook of the marts describes all other columns, with monthly fill rates over all studies."
    return ReportTable("Columns of the mart videos and their fill rates", columns, rows, note=note)


def api_changes_table(changes: Sequence[ApiChange]) -> ReportTable:
    """Return the known API changes with their sources."""
    rows = [
        [
            str(change.number),
            change_period(change),
            DATE_BASIS_LABELS[change.date_basis],
            change.title,
            change.description,
            change.source,
        ]
        for change in changes
    ]
    columns = [*number_columns("no."), *text_columns("period", "depends on", "change", "description", "source")]
    return ReportTable("Known API changes and incidents", columns, rows, note=NUMBERING_NOTE)
