"""What time does to things: counts grow, deliveries lag behind, items are withdrawn. Pure functions of a moment."""

from math import ceil, exp, log

from research_assets.sandbox.world.randomness import time_to_event, uniform

_SETTLED = 60 * 86400
_SCALE = 3 * 86400
_TOP = 1 - exp(-_SETTLED / _SCALE)


def count_at_age(final: int, age: float) -> int:
    """A count that ends at `final`, at an age in seconds: half within two days, all after 60."""
    if final == 0 or age <= 0:
        return 0
    if age >= _SETTLED:
        return final
    return int(final * (1 - exp(-age / _SCALE)) / _TOP)


def age_at_count(final: int, number: int) -> int:
    """The age in seconds at which a count that ends at `final` first exceeds `number` (from 0): `grown`, inverted."""
    age = ceil(-_SCALE * log(1 - min(1.0, (number + 1) / final) * _TOP))
    age = min(age, _SETTLED)
    while count_at_age(final, age) <= number and age < _SETTLED:
        age += 1
    return age


def snapshot_time(seed: int, now: float, lag_days: float) -> float:
    """The moment whose counts are delivered now: 0 to `lag_days` ago, another for each item and UTC day."""
    if lag_days <= 0:
        return now
    draw = uniform(seed, int(now // 86400))
    return now - lag_days * 86400 * draw * draw


def withdrawn_at(seed: int, create_time: int, per_year: float) -> float:
    """The moment at which an item is withdrawn, in Unix seconds; never is infinity."""
    return create_time + time_to_event(per_year, uniform(seed, 11))


def visible_from(seed: int, create_time: int, share: float) -> float:
    """The moment from which searches find a video: for some it takes up to 48 hours."""
    return create_time + 48 * 3600 * uniform(seed, 13) if uniform(seed, 12) < share else create_time
