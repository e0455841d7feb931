"""Return rates of an id list, with confidence intervals, by group and month; and the files that contain them.

Not here: requesting the ids (see run.py).
"""

import csv
import io
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from statistics import NormalDist

from research_assets.collect.id_lists.reader import ListedVideo
from research_assets.collect.id_lists.run import IdListProgress, IdState
from research_assets.storage.files import private_folder, write_private
from research_assets.text import csv_text

CONFIDENCE_LEVEL = 0.95
"""Level of the confidence intervals."""


@dataclass(frozen=True, slots=True)
class ReturnRate:
    """Numbers of listed, answered and returned videos of one group and month; `all` stands for every group or month.

    A video of several groups counts in each. `clusters` contains answered and returned videos of each cluster; it is
    empty if the list has no clusters.
    """

    group: str
    month: str
    listed: int
    answered: int
    returned: int
    clusters: tuple[tuple[int, int], ...] = ()

    @property
    def rate(self) -> float | None:
        """Returned videos as a share of the answered ones; None if none was answered."""
        return self.returned / self.answered if self.answered else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of the rate, for lists that are drawn in the same way.

        Without clusters it assumes that the videos were drawn independently of each other. With clusters it assumes
        this of the clusters, and is None for fewer than two.
        """
        if not self.clusters:
            return wilson_interval(self.returned, self.answered)
        if len(self.clusters) < 2:
            return None
        return wilson_interval(self.returned, self.answered, effective=effective_number(self.clusters))


def effective_number(clusters: Sequence[tuple[int, int]]) -> float:
    """Return the number of independent videos with the same information as those of the clusters.

    `clusters` are numbers of answered and returned videos, at least two. The variance of the rate is that of a ratio of
    cluster totals (Taylor linearization; Cochran 1977, section 6). If all or no videos were returned, each cluster
    counts as one video.
    """
    number, hits, n = sum(one for one, _ in clusters), sum(one for _, one in clusters), len(clusters)
    rate = hits / number
    if rate in (0, 1):
        return n
    variance = n / (n - 1) * sum((returned - rate * answered) ** 2 for answered, returned in clusters) / number**2
    return min(float(number), rate * (1 - rate) / variance) if variance else float(number)


def wilson_interval(
    hits: int, number: int, level: float = CONFIDENCE_LEVEL, *, effective: float | None = None
) -> tuple[float, float] | None:
    """Return Wilson's score interval of a share (E. B. Wilson 1927), valid near 0 and 1 too; None if `number` is 0.

    `effective` is the number of independent items; the default is `number`.
    """
    if not number:
        return None
    size = number if effective is None else effective
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = hits / number, z * z / size
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / size + spread / (4 * size))
    return (middle - half if hits else 0.0), (middle + half if hits < number else 1.0)


def interval_note(rates: Sequence[ReturnRate]) -> str:
    """Return what the intervals assume. `rates` begin with that of the whole list."""
    if rates and (n := len(rates[0].clusters)):
        return (
            f"The intervals assume that {n:,} clusters were drawn independently of each other; videos of one cluster "
            "may be alike."
        )
    return (
        "The intervals assume that the videos were drawn independently of each other. Videos of one donor or account "
        "are not: name their column with --cluster."
    )


def return_rates(listed: Iterable[ListedVideo], id_states: Mapping[int, IdState]) -> list[ReturnRate]:
    """Return the rates of the whole list, then of each group and each month, then of each group and month."""
    counts: dict[tuple[str, str], dict[str | None, Counter[str]]] = {}
    for one in listed:
        for group in {"all", *one.groups}:
            for month in ("all", one.month):
                of_clusters = counts.setdefault((group, month), {})
                of_clusters.setdefault(one.cluster, Counter())[id_states.get(one.id, "unanswered")] += 1
    order = sorted(counts, key=lambda key: (key[0] != "all", key[1] != "all", key))
    return [_return_rate(group, month, counts[group, month]) for group, month in order]


def _return_rate(group: str, month: str, of_clusters: Mapping[str | None, Counter[str]]) -> ReturnRate:
    states = sum(of_clusters.values(), Counter())
    answered = {name: (one["returned"] + one["absent"], one["returned"]) for name, one in of_clusters.items()}
    clusters = [counted for name, counted in answered.items() if name is not None and counted[0]]
    if clusters and None in answered:
        # Videos without a cluster are clusters of their own.
        number, hits = answered[None]
        clusters += [(1, 1)] * hits + [(1, 0)] * (number - hits)
    return ReturnRate(
        group, month, states.total(), states["returned"] + states["absent"], states["returned"], tuple(clusters)
    )


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
        ("class", "month", "listed", "answered", "returned", "share", "low", "high", "clusters"),
        (
            (
                one.group,
                one.month,
                one.listed,
                one.answered,
                one.returned,
                *_rate_columns(one.rate, one.interval),
                len(one.clusters) or "",
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
