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
    """Numbers of listed, answered and returned videos of one group and month; `all` stands for every group or month."""

    group: str
    month: str
    listed: int
    answered: int
    returned: int

    @property
    def rate(self) -> float | None:
        """Returned videos as a share of the answered ones; None if none was answered."""
        return self.returned / self.answered if self.answered else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 % Wilson interval of the rate, for lists that are drawn in the same way."""
        return wilson_interval(self.returned, self.answered)


def wilson_interval(hits: int, number: int, level: float = CONFIDENCE_LEVEL) -> tuple[float, float] | None:
    """Return Wilson's score interval of a share (E. B. Wilson 1927), valid near 0 and 1 too; None if `number` is 0."""
    if not number:
        return None
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = hits / number, z * z / number
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / number + spread / (4 * number))
    return (middle - half if hits else 0.0), (middle + half if hits < number else 1.0)


def return_rates(listed: Iterable[ListedVideo], id_states: Mapping[int, IdState]) -> list[ReturnRate]:
    """Return the rates of the whole list, then of each group and each month, then of each group and month."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for one in listed:
        for group in {"all", *one.groups}:
            for month in ("all", one.month):
                counts.setdefault((group, month), Counter())[id_states.get(one.id, "unanswered")] += 1
    order = sorted(counts, key=lambda key: (key[0] != "all", key[1] != "all", key))
    return [
        ReturnRate(group, month, sum(states.values()), states["returned"] + states["absent"], states["returned"])
        for group, month in order
        for states in (counts[group, month],)
    ]


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
        ("class", "month", "listed", "answered", "returned", "share", "low", "high"),
        (
            (one.group, one.month, one.listed, one.answered, one.returned, *_rate_columns(one.rate, one.interval))
            for one in rates
        ),
        simulated,
    )
    return ids, summary


def _rate_columns(rate: float | None, interval: tuple[float, float] | None) -> tuple[str, str, str]:
    if rate is None or interval is None:
        return "", "", ""
    return f"{rate:.4f}", f"{interval[0]:.4f}", f"{interval[1]:.4f}"


def _write_csv(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]], simulated: bool) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *["simulated"] * simulated])
    writer.writerows([*row, *["true"] * simulated] for row in rows)
    write_private(path, text.getvalue().encode())
