"""Ids of the API: positive 64-bit integers, the upload time that a video id contains, and ids that were rounded.

Not here: the line of JSON that keeps ids exact (see jsonline.py).
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp, lgamma, log
from typing import Any

_FLOAT = "a program read them as floating-point numbers, which keep about 16 of the 19 digits (R, pandas, JavaScript)"
_SPREADSHEET = "a spreadsheet kept the first 15 digits and replaced the others with zeros"
_CHANCE = {_SPREADSHEET: 1 / 10_000, _FLOAT: 1 / 500}
"""Assumed share of true ids that look like this: multiples of 10,000, and of 1,000 or 1,024. Of 1,131 true ids, 0 are
multiples of 1,024 and 1 is a multiple of 1,000."""

_MAX_CHANCE = 0.02
"""Ids count as rounded if a list of true ids has as many such ids with at most this probability."""


@dataclass(frozen=True, slots=True)
class RoundedIds:
    """Ids of a list that end in zeros as rounded ids do: what probably happened, and whether it is beyond doubt.

    If it is not beyond doubt, a list of true ids of this length often has as many of them.
    """

    ids: tuple[int, ...]
    cause: str
    is_certain: bool

    def __str__(self) -> str:
        """Return the cause, and how to export the ids."""
        return (
            f"{self.cause}. The true ids cannot be restored from them. Export the list again from its source, with the "
            "ids as text: in a spreadsheet import the column as Text, in pandas read it with dtype=str, in R with "
            'colClasses = "character" or bit64, in JavaScript as a string or BigInt'
        )


def find_rounded_ids(ids: Iterable[int]) -> RoundedIds | None:
    """Return the ids that were probably rounded; None if none looks like it.

    An id above 2^53 that went through a float is a multiple of a power of 2 (1,024 for ids of today) or, written by
    JavaScript or R, of a power of 10; one that a spreadsheet saved has zeros after 15 digits.
    """
    large = {one for one in ids if one >= 2**53}
    found = {one: cause for one in large if (cause := _rounding(one))}
    if not found:
        return None
    counts = Counter(found.values())
    is_certain = any(_tail(len(large), number, _CHANCE[cause]) <= _MAX_CHANCE for cause, number in counts.items())
    return RoundedIds(tuple(found), counts.most_common(1)[0][0], is_certain)


def _rounding(identifier: int) -> str | None:
    digits = len(str(identifier))
    if digits > 15 and identifier % 10 ** (digits - 15) == 0:
        return _SPREADSHEET
    # Python writes the exact value of the nearest float, R and JavaScript the fewest digits that identify it.
    if identifier == int(float(identifier)) or (digits > 16 and identifier % 10 ** (digits - 16) == 0):
        return _FLOAT
    return None


def _tail(n: int, k: int, p: float) -> float:
    """Return the probability of `k` or more hits in `n` draws with the small probability `p` each (Poisson)."""
    mean = n * p
    if k > 2 * mean + 20:
        return 0.0
    return 1.0 - sum(exp(i * log(mean) - mean - lgamma(i + 1)) for i in range(k))


def parse_id(value: object) -> int | None:
    """Return an id given as a number or as text; None if it is not a positive 64-bit integer."""
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) <= 19:
        value = int(value)
    return value if type(value) is int and 0 < value < 2**63 else None


def require_id(name: str, value: object) -> int:
    """Return an id as `parse_id` does. Raise ValueError with the name of the argument if it is not an id."""
    number = parse_id(value)
    if number is None:
        raise ValueError(f"{name}={value!r}: must be a positive 64-bit integer")
    return number


def video_id_of(video: Mapping[str, Any]) -> int | None:
    """Return the id of a video record, from the key `id` or `video_id`; None if it has no valid id."""
    return parse_id(video["id"] if video.get("id") is not None else video.get("video_id"))


def upload_time(identifier: int) -> datetime:
    """Return the time in the upper 32 bits of an id, UTC (reference §3.1.3, id anatomy)."""
    return datetime.fromtimestamp(min(identifier >> 32, 2**33), UTC)
