"""Return rates of an id list, with confidence intervals, by group and month; and the files that contain them.

Not here: requesting the ids (see run.py).
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from research_assets.collect.id_lists.reader import ListedVideo
from research_assets.collect.id_lists.run import IdListProgress, IdState
from research_assets.estimates.shares import MIN_CLUSTERS, ClusterShare, cluster_share, wilson_interval
from research_assets.storage.files import private_folder, write_private
from research_assets.text import csv_text


@dataclass(frozen=True, slots=True)
class ReturnRate:
    """Numbers of listed, answered and returned videos of one group and month; `all` stands for every group or month.

    A video of several groups counts in each. `clusters` contains answered and returned items of each cluster; it is
    empty if the list has neither clusters nor exposures. Items are videos, or exposures if the list has them.
    """

    group: str
    month: str
    listed: int
    answered: int
    returned: int
    clusters: tuple[tuple[float, float], ...] = ()

    @property
    def rate(self) -> float | None:
        """Returned items as a share of the answered ones; None if none was answered."""
        if of_clusters := self.of_clusters:
            return of_clusters.share
        return self.returned / self.answered if self.answered and not self.clusters else None

    @property
    def of_clusters(self) -> ClusterShare | None:
        """The share with its variance between clusters; None for a list without clusters."""
        return cluster_share(self.clusters)

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % interval of the rate, for lists that are drawn in the same way.

        Without clusters it is Wilson's and assumes that the videos were drawn independently of each other. With
        clusters it assumes this of the clusters, and is None for fewer than two.
        """
        if self.clusters:
            return of_clusters.interval() if (of_clusters := self.of_clusters) else None
        return wilson_interval(self.returned, self.answered)


def design_effect(rate: ReturnRate) -> float | None:
    """Return the design effect of the clusters; None without clusters, or if they show none."""
    return rate.of_clusters.design_effect if rate.of_clusters else None


def interval_note(rates: Sequence[ReturnRate], *, clusters_are_videos: bool = False) -> str:
    """Return what the intervals assume. `rates` begin with that of the whole list.

    `clusters_are_videos` states that the list has exposures but no clusters.
    """
    if rates and (n := len(rates[0].clusters)) and not clusters_are_videos:
        return (
            f"The intervals assume that {n:,} clusters were drawn independently of each other; videos of one cluster "
            "may be alike. The design effect is the variance divided by that of items drawn independently."
        )
    exposures = " A video may have any number of exposures." if clusters_are_videos else ""
    return (
        f"The intervals assume that the videos were drawn independently of each other.{exposures} Videos of one donor "
        "or account are not: name their column with --cluster."
    )


def few_clusters_warning(rates: Sequence[ReturnRate]) -> str | None:
    """Return a warning about intervals that rest on fewer than `MIN_CLUSTERS` clusters; None if there are none."""
    few = [one for one in rates if 0 < len(one.clusters) < MIN_CLUSTERS]
    if not few:
        return None
    least = min(len(one.clusters) for one in few)
    which = "all shares" if len(few) == len(rates) else f"{len(few):,} of {len(rates):,} shares"
    return (
        f"{which} rest on fewer than {MIN_CLUSTERS} clusters (at least {least}). Their intervals depend on how alike "
        "these few are: a paper should give the shares of single clusters, or larger classes."
    )


def return_rates(listed: Iterable[ListedVideo], id_states: Mapping[int, IdState]) -> list[ReturnRate]:
    """Return the rates of the whole list, then of each group and each month, then of each group and month."""
    videos = list(listed)
    has_clusters = any(one.cluster or one.exposures for one in videos)
    states: dict[tuple[str, str], Counter[IdState]] = {}
    clusters: dict[tuple[str, str], dict[str | int, tuple[float, float]]] = {}
    for one in videos:
        state = id_states.get(one.id, "unanswered")
        for group in {"all", *one.groups}:
            for month in ("all", one.month):
                states.setdefault((group, month), Counter())[state] += 1
                of_group = clusters.setdefault((group, month), {})
                for cluster, number in _items(one, group) if has_clusters and state != "unanswered" else ():
                    answered, returned = of_group.get(cluster, (0.0, 0.0))
                    of_group[cluster] = answered + number, returned + number * (state == "returned")
    order = sorted(states, key=lambda key: (key[0] != "all", key[1] != "all", key))
    return [_return_rate(*key, states[key], clusters[key]) for key in order]


def _items(video: ListedVideo, group: str) -> Iterator[tuple[str | int, float]]:
    """Yield the clusters of a video in a group with the number of its items: exposures, or 1 for the video itself.

    What has no cluster is a cluster of its own.
    """
    if not video.exposures:
        yield video.cluster or video.id, 1.0
    for of_group, cluster, number in video.exposures:
        if number and group in ("all", of_group):
            yield cluster or video.id, number


def _return_rate(
    group: str, month: str, states: Counter[IdState], clusters: Mapping[str | int, tuple[float, float]]
) -> ReturnRate:
    in_order = tuple(clusters[name] for name in sorted(clusters, key=str))
    answered = states["returned"] + states["absent"]
    return ReturnRate(group, month, states.total(), answered, states["returned"], in_order)


def write_results(
    folder: Path,
    listed: Sequence[ListedVideo],
    progress: IdListProgress,
    rates: Sequence[ReturnRate],
    *,
    simulated: bool,
) -> tuple[Path, Path]:
    """Write `ids.csv` (each id with its state) and `shares.csv` to a folder that only its owner can read.

    With `simulated`, each row of both says so in a column of that name.
    """
    private_folder(folder)
    ids, summary = folder / "ids.csv", folder / "shares.csv"
    _write_csv(
        ids,
        ("id", "class", "month", "state", "reason"),
        (
            (
                one.id,
                csv_text("; ".join(one.groups)),
                one.month,
                progress.states.get(one.id, "unanswered"),
                csv_text(progress.reasons.get(one.id, "")),
            )
            for one in listed
        ),
        simulated,
    )
    _write_csv(
        summary,
        ("class", "month", "listed", "answered", "returned", "share", "low", "high", "clusters", "design_effect"),
        (
            (
                one.group,
                one.month,
                one.listed,
                one.answered,
                one.returned,
                *_rate_columns(one.rate, one.interval),
                len(one.clusters) or "",
                "" if (effect := design_effect(one)) is None else f"{effect:.2f}",
            )
            for one in rates
        ),
        simulated,
    )
    return ids, summary


def _rate_columns(rate: float | None, interval: tuple[float, float] | None) -> tuple[str, str, str]:
    if rate is None:
        return "", "", ""
    if interval is None:
        return f"{rate:.4f}", "", ""
    return f"{rate:.4f}", f"{interval[0]:.4f}", f"{interval[1]:.4f}"


def _write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]], simulated: bool) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *["simulated"] * simulated])
    writer.writerows([*row, *["true"] * simulated] for row in rows)
    write_private(path, text.getvalue().encode())
