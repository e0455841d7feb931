"""Chance that depends on nothing but the seed and what is asked about.

Every property of the world is drawn from a hash of the seed and of the thing's own number, never from a running
generator, so that the world is the same in whatever order it is looked at.
"""

import hashlib
from math import log

_MASK = (1 << 64) - 1
_SCALE = 1.0 / (1 << 64)
YEAR = 365.25 * 86400


def hash_parts(*parts: int) -> int:
    """A 64-bit number that looks random and is the same for the same parts."""
    state = 0x9E3779B97F4A7C15
    for part in parts:
        state = ((state ^ (part & _MASK)) * 0xBF58476D1CE4E5B9) & _MASK
        state = ((state ^ (state >> 29)) * 0x94D049BB133111EB) & _MASK
        state ^= state >> 32
    return state


def uniform(*parts: int) -> float:
    """A number in [0, 1) that looks random and is the same for the same parts."""
    return hash_parts(*parts) * _SCALE


def hash_text(text: str) -> int:
    """A text as a number for `mix`, the same in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def time_to_event(share_per_year: float, draw: float) -> float:
    """Seconds until an event that befalls a share of all things within a year, for a draw in [0, 1)."""
    if share_per_year <= 0:
        return float("inf")
    rate = -log(1 - min(share_per_year, 0.999_999)) / YEAR
    return -log(1 - draw) / rate
