"""The sections about the content: hashtags, creators, engagement, threads, follows, the age of counts."""

from collections.abc import Sequence

from research_assets.report import charts_content, draw
from research_assets.report.facts import Distribution, Facts, Ranked
from research_assets.report.section import Figure, Section, Table, numbers, texts, times
from research_assets.report.words import counted, listed, minute, number, percent, share_of

MOST_LISTS = 60
"""Lists of accounts in a table at most."""


def hashtags(facts: Facts) -> Section:
    """The hashtags on most videos."""
    name, title = "hashtags", "Hashtags"
    if not facts.hashtags:
        return Section(name, title, ["No hashtag is held: no video carries one, or none is held yet."])
    first = facts.hashtags[0]
    sentences = [
        (
            f"{counted(facts.n_hashtags, 'hashtag')} stand on the videos held. The most frequent is #{first.name}, on "
            f"{share_of(first.videos, facts.overall.videos)} of them; a hashtag that the query asks for stands on "
            "every video by design."
        )
    ]
    rows = _ranked(facts.hashtags, "#")
    columns = [*texts("hashtag"), *numbers("videos", "creators", "median views", "views together")]
    chart = charts_content.ranking(facts.hashtags, "with the hashtag", "#")
    words = f"The {len(facts.hashtags)} hashtags on most videos, and the median views of these videos."
    figure = Figure("hashtags", draw.svg(chart, "hashtags", "Hashtags by videos"), words)
    return Section(name, title, sentences, [figure], [Table("Hashtags", columns, rows)])


def creators(facts: Facts) -> Section:
    """The creators of most videos, and how much of all is theirs."""
    name, title = "creators", "Creators"
    if not facts.creators:
        return Section(name, title, ["No creator is held, because no video is."])
    overall = facts.overall
    sentences = [
        (
            f"{counted(overall.creators, 'account')} published the videos held, "
            f"{number(round(overall.videos / overall.creators, 1))} each on average. The tenth of the creators with "
            f"most videos published {percent(facts.top_share)} of them."
        ),
        (
            "Names are those of public authors, as the API delivers them. Check what your ethics review says before "
            "you publish them."
        ),
    ]
    columns = [*texts("creator"), *numbers("videos", "days with videos", "median views", "views together")]
    chart = charts_content.ranking(facts.creators, "held", "@")
    words = f"The {len(facts.creators)} creators of most videos held, and the median views of these videos."
    figure = Figure("creators", draw.svg(chart, "creators", "Creators by videos"), words)
    return Section(name, title, sentences, [figure], [Table("Creators", columns, _ranked(facts.creators, "@"))])


def _ranked(rows: Sequence[Ranked], sign: str) -> list[list[str]]:
    return [
        [f"{sign}{row.name}", number(row.videos), number(row.other), number(row.views_median), number(row.views)]
        for row in rows
    ]


def engagement(facts: Facts) -> Section:
    """How views, likes, comments and shares are distributed over the videos."""
    name, title = "engagement", "Engagement"
    parts = [part for part in facts.engagement if part.number > part.absent]
    if not parts:
        return Section(name, title, ["No video with counts is held."])
    medians = listed([f"{number(part.median)} {part.name.lower()}" for part in parts])
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
    figure = Figure("engagement", draw.svg(charts_content.distributions(parts), "engagement", "Engagement"), words)
    return Section(name, title, sentences, [figure], [_spread(parts)])


def _spread(parts: Sequence[Distribution]) -> Table:
    rows = [
        [part.name, number(part.number - part.absent), number(part.absent), number(part.zeros), number(part.quartile),
         number(part.median), number(part.upper), number(part.most)]
        for part in parts
    ]  # fmt: skip
    columns = [
        *texts("what"),
        *numbers("counted", "without a count", "zeros", "lower quartile", "median", "upper quartile", "most"),
    ]
    return Table("Distributions", columns, rows)


def threads(facts: Facts) -> Section:
    """Comments by video and replies by comment."""
    name, title = "threads", "Comment threads"
    overall = facts.overall
    if not overall.comments + overall.replies:
        asked = any(group.entity == "comments" and group.state in ("complete", "partial") for group in facts.units)
        reason = "the lists that were asked are empty" if asked else "none were asked"
        return Section(name, title, [f"No comments are held: {reason}."])
    depths = listed([f"{number(amount)} at depth {depth}" for depth, amount in facts.depths])
    sentences = [
        (
            f"{counted(overall.comments, 'comment')} and {counted(overall.replies, 'reply', 'replies')} are held "
            f"({depths}; depth 0 is a comment on the video itself). The API gives neither the writers of comments nor "
            "the comments that were removed."
        )
    ]
    parts = [part for part in facts.threads if part.number]
    words = (
        "Size of threads: comments and replies held of each video whose list is complete, and replies held to each "
        "comment (log scale, zeros apart)."
    )
    figure = Figure("threads", draw.svg(charts_content.distributions(parts), "threads", "Size of threads"), words)
    return Section(name, title, sentences, [figure], [_spread(parts)])


def network(facts: Facts) -> Section:
    """The degrees of the follow graph, and the lists that it is made of."""
    name, title = "network", "Follow graph"
    if not facts.degrees:
        asked = f" {counted(len(facts.looks), 'list')} were asked." if facts.looks else " No list was asked."
        return Section(name, title, [f"No follow relation is held.{asked}"])
    whole = [look for look in facts.looks if look.state == "complete"]
    sentences = [
        (
            f"{counted(facts.overall.follows, 'relation')} between accounts are held, from "
            f"{counted(len(whole), 'list')} that ended as they should, of {len(facts.looks)} asked. Only the lists of "
            "the panel were asked: the degree of every other account counts its ties to the panel alone. Of long "
            "lists the API gives the newest only."
        )
    ]
    rows = [
        [
            "followers" if look.entity == "followers" else "followed accounts", f"@{look.account}", look.state,
            number(look.kept), number(look.expected), share_of(look.kept, look.expected or 0),
            minute(look.completed_at),
        ]
        for look in facts.looks[:MOST_LISTS]
    ]  # fmt: skip
    columns = [
        *texts("list", "account", "state"),
        *numbers("rows held", "expected", "share"),
        *times("completed (UTC)"),
    ]
    more = len(facts.looks) - MOST_LISTS
    note = "Expected: the number that the profile tells." + (f" {counted(more, 'list')} more." if more > 0 else "")
    words = "Of the accounts with ties, the share that has at least so many (complementary cumulative, both axes log)."
    figure = Figure("network", draw.svg(charts_content.degrees(facts.degrees), "network", "Degrees"), words)
    return Section(name, title, sentences, [figure], [Table("Lists", columns, rows, note=note)])


def ages(facts: Facts) -> Section:
    """How old videos were when they were counted, and how old the counts are."""
    name, title = "ages", "Age of counts"
    parts = [part for part in facts.ages if part.bins]
    if not parts:
        return Section(name, title, ["No video is held, so no count has an age."])
    when, since = facts.ages
    again = sum(videos for times, videos in facts.observations if times > 1)
    sentences = [
        (
            f"Counts were taken when the median video was {number(when.median)} days old (from {number(when.quartile)} "
            f"to {number(when.upper)} for the middle half). When the marts were built, the median count was "
            f"{number(since.median)} days old. "
        )
        + (f"{counted(again, 'video')} were observed more than once." if again else "Each video was observed once.")
    ]
    words = (
        "Age of each video when its newest counts were taken, and age of these counts when the marts were built. "
        "The dashed line is the median."
    )
    figure = Figure("ages", draw.svg(charts_content.distributions(parts, log=False), "ages", "Age of counts"), words)
    tables = [_spread(parts)]
    if again:
        observed = [[number(times), number(videos)] for times, videos in facts.observations]
        tables.append(Table("Observations of a video", numbers("times", "videos"), observed))
    return Section(name, title, sentences, [figure], tables)
