"""Random numbers that depend only on the seed and on the item for which they are drawn.

Every property of the world comes from a hash of the seed and the item's own number. A shared generator would make the
world depend on the order of access.
"""

import hashlib
from math import log

_MASK = (1 << 64) - 1
_SCALE = 1.0 / (1 << 64)
YEAR = 365.25 * 86400


def hash_parts(*parts: int) -> int:
    """Return a pseudorandom 64-bit number, equal for equal parts."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = ((state ^ (part & _MASK)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 29)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 32
    return state


def uniform(*parts: int) -> float:
    """Return a pseudorandom number in [0, 1), equal for equal parts."""
    return hash_parts(*parts) * _SCALE


def hash_text(text: str) -> int:
    """Return a text as a number for `hash_parts`, equal in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def time_to_event(share_per_year: float, draw: float) -> float:
    """Return the seconds until an event that affects a share of all items per year, for a random number in [0, 1)."""
    if share_per_year <= 0:
        return float("inf")
    rate = -log(1 - min(share_per_year, 0.999_999)) / YEAR
    return -log(1 - draw) / rate
