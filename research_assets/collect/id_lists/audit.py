"""What the answers say of a list: the share that the API returns, with the interval of chance, by class and month."""

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

CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class ReturnRate:
    """Videos of one class and month (`all` for every one), and how many of them the API returned, of those answered."""

    group: str
    month: str
    listed: int
    answered: int
    returned: int

    @property
    def rate(self) -> float | None:
        """Returned of answered; None if nothing was answered."""
        return self.returned / self.answered if self.answered else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """Wilson's interval of the share at the level of 95 %: of what a list drawn in the same way would give."""
        return wilson_interval(self.returned, self.answered)


def wilson_interval(hits: int, number: int, level: float = CONFIDENCE_LEVEL) -> tuple[float, float] | None:
    """Wilson's score interval of a share (E. B. Wilson 1927), which also holds near 0 and 1; None of nothing."""
    if not number:
        return None
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, spread = hits / number, z * z / number
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * sqrt(share * (1 - share) / number + spread / (4 * number))
    return (middle - half if hits else 0.0), (middle + half if hits < number else 1.0)


def return_rates(listed: Iterable[ListedVideo], states: Mapping[int, IdState]) -> list[ReturnRate]:
    """The share of the whole list first, then of each class and of each month, then of both together."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    for one in listed:
        for label in {"all", one.group or "all"}:
            for month in ("all", one.month):
                counts.setdefault((label, month), Counter())[states.get(one.id, "unanswered")] += 1
    order = sorted(counts, key=lambda key: (key[0] != "all", key[1] != "all", key))
    return [
        ReturnRate(label, month, sum(found.values()), found["returned"] + found["absent"], found["returned"])
        for label, month in order
        for found in (counts[label, month],)
    ]


def write_results(
    folder: Path, listed: Sequence[ListedVideo], known: IdListProgress, found: Sequence[ReturnRate]
) -> tuple[Path, Path]:
    """Write `ids.csv` (each id with its state) and `shares.csv` into a folder that its owner alone can read."""
    private_folder(folder)
    ids, summary = folder / "ids.csv", folder / "shares.csv"
    _table(
        ids,
        ("id", "class", "month", "state", "reason"),
        (
            (one.id, one.group, one.month, known.states.get(one.id, "unanswered"), known.reasons.get(one.id, ""))
            for one in listed
        ),
    )
    _table(
        summary,
        ("class", "month", "listed", "answered", "returned", "share", "low", "high"),
        (
            (one.group, one.month, one.listed, one.answered, one.returned, *_rate_columns(one.rate, one.interval))
            for one in found
        ),
    )
    return ids, summary


def _rate_columns(share: float | None, interval: tuple[float, float] | None) -> tuple[str, str, str]:
    if share is None or interval is None:
        return "", "", ""
    return f"{share:.4f}", f"{interval[0]:.4f}", f"{interval[1]:.4f}"


def _table(path: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    writer.writerows(rows)
    write_private(path, text.getvalue().encode())
