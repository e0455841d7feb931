"""The test of hits against those of other days: its error rates on simulated days, and what it notices."""

from random import Random

import pytest

from research_assets.units.plausibility import ALPHA, probability_of_at_most


def negative_binomial(random: Random, mean: float, size: float) -> int:
    """Return a number of hits of a day that varies more than chance: a Poisson number of a gamma-distributed mean."""
    rate = random.gammavariate(size, mean / size)
    hits, product = 0, random.random()
    limit = 2.718281828459045**-rate
    while product > limit:
        hits, product = hits + 1, product * random.random()
    return hits


@pytest.mark.parametrize("mean", [0.4, 3.0, 40.0])
@pytest.mark.parametrize("size", [1.0, 5.0, 1000.0])
def test_few_ordinary_days_are_questioned(mean: float, size: float) -> None:
    random = Random(7)
    series = [negative_binomial(random, mean, size) for _ in range(2000)]
    questioned = 0
    for index in range(15, len(series) - 15):
        known = [float(hits) for hits in (*series[index - 15 : index], *series[index + 1 : index + 16])]
        questioned += probability_of_at_most(series[index], 1, known) < ALPHA
    # The spread is estimated from 30 days, so the rate may exceed the nominal one a little.
    assert questioned <= 5 * ALPHA * len(series)


@pytest.mark.parametrize(
    ("hits", "n_days", "known", "implausible"),
    [
        (0, 1, [50.0] * 6, True),
        (0, 1, [2.0] * 30, False),
        (0, 31, [3.0] * 31, True),
        (0, 7, [0.0, 1.0, 0.0, 0.0, 1.0] * 6, False),
        (5, 1, [50.0] * 10, True),
        (40, 1, [50.0] * 10, False),
        (1, 1, [1.0, 200.0, 3.0, 90.0, 2.0], False),
        (0, 1, [0.0] * 20, False),
        (0, 1, [], False),
        (19, 1, [130.0] * 6, True),
    ],
)
def test_days_that_lost_their_hits_are_noticed(hits: int, n_days: int, known: list[float], implausible: bool) -> None:
    assert (probability_of_at_most(hits, n_days, known) < ALPHA) is implausible


def test_probability_rises_with_the_hits_and_falls_with_the_days() -> None:
    known = [10.0, 12.0, 9.0, 14.0]
    by_hits = [probability_of_at_most(hits, 1, known) for hits in range(40)]
    assert by_hits == sorted(by_hits)
    by_days = [probability_of_at_most(0, n_days, known) for n_days in range(1, 10)]
    assert by_days == sorted(by_days, reverse=True)
    assert by_hits[-1] == pytest.approx(1, abs=0.02)
