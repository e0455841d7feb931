"""The sections about the content: hashtags, creators, engagement, threads, follows, the age of counts."""

from collections.abc import Sequence

from research_assets.report import charts_content, draw
from research_assets.report.facts import Distribution, RankedItem, ReportData
from research_assets.report.section import (
    ReportFigure,
    ReportSection,
    ReportTable,
    number_columns,
    text_columns,
    time_columns,
)
from research_assets.report.words import (
    format_minute,
    format_number,
    format_percent,
    format_share,
    join_words,
    pluralize,
)

MAX_LISTS = 60
"""Lists of accounts in a table at most."""


def hashtags_section(facts: ReportData) -> ReportSection:
    """The hashtags on most videos."""
    name, title = "hashtags", "Hashtags"
    if not facts.hashtags:
        return ReportSection(name, title, ["No hashtag is held: no video carries one, or none is held yet."])
    first = facts.hashtags[0]
    sentences = [
        (
            f"{pluralize(facts.n_hashtags, 'hashtag')} stand on the videos held. The most frequent is #{first.name}, on "
            f"{format_share(first.videos, facts.overall.videos)} of them; a hashtag that the query asks for stands on "
            "every video by design."
        )
    ]
    rows = _ranking_rows(facts.hashtags, "#")
    columns = [*text_columns("hashtag"), *number_columns("videos", "creators", "median views", "views together")]
    chart = charts_content.ranking_chart(facts.hashtags, "with the hashtag", "#")
    words = f"The {len(facts.hashtags)} hashtags on most videos, and the median views of these videos."
    figure = ReportFigure("hashtags", draw.to_svg(chart, "hashtags", "Hashtags by videos"), words)
    return ReportSection(name, title, sentences, [figure], [ReportTable("Hashtags", columns, rows)])


def creators_section(facts: ReportData) -> ReportSection:
    """The creators of most videos, and how much of all is theirs."""
    name, title = "creators", "Creators"
    if not facts.creators:
        return ReportSection(name, title, ["No creator is held, because no video is."])
    overall = facts.overall
    sentences = [
        (
            f"{pluralize(overall.creators, 'account')} published the videos held, "
            f"{format_number(round(overall.videos / overall.creators, 1))} each on average. The tenth of the creators with "
            f"most videos published {format_percent(facts.top_share)} of them."
        ),
        (
            "Names are those of public authors, as the API delivers them. Check what your ethics review says before "
            "you publish them."
        ),
    ]
    columns = [
        *text_columns("creator"),
        *number_columns("videos", "days with videos", "median views", "views together"),
    ]
    chart = charts_content.ranking_chart(facts.creators, "held", "@")
    words = f"The {len(facts.creators)} creators of most videos held, and the median views of these videos."
    figure = ReportFigure("creators", draw.to_svg(chart, "creators", "Creators by videos"), words)
    return ReportSection(
        name, title, sentences, [figure], [ReportTable("Creators", columns, _ranking_rows(facts.creators, "@"))]
    )


def _ranking_rows(rows: Sequence[RankedItem], sign: str) -> list[list[str]]:
    return [
        [
            f"{sign}{row.name}",
            format_number(row.videos),
            format_number(row.other),
            format_number(row.views_median),
            format_number(row.views),
        ]
        for row in rows
    ]


def engagement_section(facts: ReportData) -> ReportSection:
    """How views, likes, comments and shares are distributed over the videos."""
    name, title = "engagement", "Engagement"
    parts = [part for part in facts.engagement if part.number > part.absent]
    if not parts:
        return ReportSection(name, title, ["No video with counts is held."])
    medians = join_words([f"{format_number(part.median)} {part.name.lower()}" for part in parts])
    sentences = [
        (
            f"The median video has {medians}. Counts are those of the newest observation of each video, as the API "
            "counted them; they may have been up to ten days old when delivered."
        )
    ]
    words = (
        "Videos by count, in classes from 1, 2, 5, 10, 20 and so on upwards (log scale); videos with a count of "
        "zero stand apart on the left. The dashed line is the median of all, zeros included."
    )
    figure = ReportFigure(
        "engagement", draw.to_svg(charts_content.distribution_chart(parts), "engagement", "Engagement"), words
    )
    return ReportSection(name, title, sentences, [figure], [_distribution_rows(parts)])


def _distribution_rows(parts: Sequence[Distribution]) -> ReportTable:
    rows = [
        [part.name, format_number(part.number - part.absent), format_number(part.absent), format_number(part.zeros), format_number(part.lower_quartile),
         format_number(part.median), format_number(part.upper_quartile), format_number(part.maximum)]
        for part in parts
    ]  # fmt: skip
    columns = [
        *text_columns("what"),
        *number_columns("counted", "without a count", "zeros", "lower quartile", "median", "upper quartile", "most"),
    ]
    return ReportTable("Distributions", columns, rows)


def threads_section(facts: ReportData) -> ReportSection:
    """Comments by video and replies by comment."""
    name, title = "threads", "Comment threads"
    overall = facts.overall
    if not overall.comments + overall.replies:
        asked = any(group.entity == "comments" and group.state in ("complete", "partial") for group in facts.units)
        reason = "the lists that were asked are empty" if asked else "none were asked"
        return ReportSection(name, title, [f"No comments are held: {reason}."])
    depths = join_words([f"{format_number(amount)} at depth {depth}" for depth, amount in facts.depths])
    sentences = [
        (
            f"{pluralize(overall.comments, 'comment')} and {pluralize(overall.replies, 'reply', 'replies')} are held "
            f"({depths}; depth 0 is a comment on the video itself). The API gives neither the writers of comments nor "
            "the comments that were removed."
        )
    ]
    parts = [part for part in facts.threads if part.number]
    words = (
        "Size of threads: comments and replies held of each video whose list is complete, and replies held to each "
        "comment (log scale, zeros apart)."
    )
    figure = ReportFigure(
        "threads", draw.to_svg(charts_content.distribution_chart(parts), "threads", "Size of threads"), words
    )
    return ReportSection(name, title, sentences, [figure], [_distribution_rows(parts)])


def follow_graph_section(facts: ReportData) -> ReportSection:
    """The degrees of the follow graph, and the lists that it is made of."""
    name, title = "network", "Follow graph"
    if not facts.degrees:
        asked = (
            f" {pluralize(len(facts.follow_lists), 'list')} were asked."
            if facts.follow_lists
            else " No list was asked."
        )
        return ReportSection(name, title, [f"No follow relation is held.{asked}"])
    whole = [look for look in facts.follow_lists if look.state == "complete"]
    sentences = [
        (
            f"{pluralize(facts.overall.follows, 'relation')} between accounts are held, from "
            f"{pluralize(len(whole), 'list')} that ended as they should, of {len(facts.follow_lists)} asked. Only the lists of "
            "the panel were asked: the degree of every other account counts its ties to the panel alone. Of long "
            "lists the API gives the newest only."
        )
    ]
    rows = [
        [
            "followers" if look.entity == "followers" else "followed accounts", f"@{look.account}", look.state,
            format_number(look.kept), format_number(look.expected), format_share(look.kept, look.expected or 0),
            format_minute(look.completed_at),
        ]
        for look in facts.follow_lists[:MAX_LISTS]
    ]  # fmt: skip
    columns = [
        *text_columns("list", "account", "state"),
        *number_columns("rows held", "expected", "share"),
        *time_columns("completed (UTC)"),
    ]
    more = len(facts.follow_lists) - MAX_LISTS
    note = "Expected: the number that the profile tells." + (f" {pluralize(more, 'list')} more." if more > 0 else "")
    words = "Of the accounts with ties, the share that has at least so many (complementary cumulative, both axes log)."
    figure = ReportFigure(
        "network", draw.to_svg(charts_content.degree_chart(facts.degrees), "network", "Degrees"), words
    )
    return ReportSection(name, title, sentences, [figure], [ReportTable("Lists", columns, rows, note=note)])


def data_age_section(facts: ReportData) -> ReportSection:
    """How old videos were when they were counted, and how old the counts are."""
    name, title = "ages", "Age of counts"
    parts = [part for part in facts.ages if part.bins]
    if not parts:
        return ReportSection(name, title, ["No video is held, so no count has an age."])
    when, since = facts.ages
    again = sum(videos for times, videos in facts.observations if times > 1)
    sentences = [
        (
            f"Counts were taken when the median video was {format_number(when.median)} days old (from {format_number(when.lower_quartile)} "
            f"to {format_number(when.upper_quartile)} for the middle half). When the marts were built, the median count was "
            f"{format_number(since.median)} days old. "
        )
        + (f"{pluralize(again, 'video')} were observed more than once." if again else "Each video was observed once.")
    ]
    words = (
        "Age of each video when its newest counts were taken, and age of these counts when the marts were built. "
        "The dashed line is the median."
    )
    figure = ReportFigure(
        "ages", draw.to_svg(charts_content.distribution_chart(parts, log=False), "ages", "Age of counts"), words
    )
    tables = [_distribution_rows(parts)]
    if again:
        observed = [[format_number(times), format_number(videos)] for times, videos in facts.observations]
        tables.append(ReportTable("Observations of a video", number_columns("times", "videos"), observed))
    return ReportSection(name, title, sentences, [figure], tables)
