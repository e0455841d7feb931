"""Effects of time: growing counts, delayed counts and videos, withdrawals. Pure functions; times are Unix seconds."""

from math import ceil, exp, log

from research_assets.sandbox.world.randomness import time_to_event, uniform

_SETTLED = 60 * 86400
_SCALE = 3 * 86400
_TOP = 1 - exp(-_SETTLED / _SCALE)


def count_at_age(final: int, age: float) -> int:
    """Return the value at an age in seconds of a count that ends at `final`: half within two days, all after 60."""
    if final == 0 or age <= 0:
        return 0
    if age >= _SETTLED:
        return final
    return int(final * (1 - exp(-age / _SCALE)) / _TOP)


def age_at_count(final: int, number: int) -> int:
    """Return the age in seconds at which a count that ends at `final` exceeds `number`; inverts `count_at_age`."""
    age = ceil(-_SCALE * log(1 - min(1.0, (number + 1) / final) * _TOP))
    age = min(age, _SETTLED)
    while count_at_age(final, age) <= number and age < _SETTLED:
        age += 1
    return age


def snapshot_time(seed: int, now: float, lag_days: float) -> float:
    """Return the time of the counts delivered at `now`: the newest refresh of the item, 0 to `lag_days` earlier.

    Each item is refreshed at its own constant interval (a tenth of the lag to all of it) and phase. So its counts
    change in steps, and later counts are never older.
    """
    if lag_days <= 0:
        return now
    interval = lag_days * 86400 * (0.1 + 0.9 * uniform(seed, 15))
    return now - (now - interval * uniform(seed, 16)) % interval


def withdrawn_at(seed: int, create_time: int, per_year: float) -> float:
    """Return the time at which an item is withdrawn; infinity for never."""
    return create_time + time_to_event(per_year, uniform(seed, 11))


def visible_from(seed: int, create_time: int, share: float, days: float) -> float:
    """Return the time from which searches find a video; for a share of videos up to `days` after publication."""
    return create_time + days * 86400 * uniform(seed, 13) if uniform(seed, 12) < share else create_time
