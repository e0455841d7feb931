"""The share of simulated samples whose 95 % interval contains the truth: between 93 % and 97 % of 1,000."""

from collections.abc import Callable
from random import Random

import pytest

from research_assets.estimates.shares import cluster_share

pytestmark = pytest.mark.long

DRAWS = 1000


def coverage(draw: Callable[[Random], tuple[tuple[float, float] | None, float]], seed: int = 7) -> float:
    """Return how many of the drawn intervals contain the truth that is drawn with them."""
    rng = Random(seed)
    hits = 0
    for _ in range(DRAWS):
        interval, truth = draw(rng)
        hits += interval is not None and interval[0] <= truth <= interval[1]
    return hits / DRAWS


def assert_covers(share: float) -> None:
    assert 0.93 <= share <= 0.97, f"coverage {share:.1%}"


@pytest.mark.parametrize("n_donors", [12, 40])
def test_interval_of_a_share_of_clusters(n_donors: int) -> None:
    def draw(rng: Random) -> tuple[tuple[float, float] | None, float]:
        clusters = []
        for _ in range(n_donors):
            number, share = rng.randint(20, 200), rng.betavariate(8, 2)
            clusters.append((number, sum(rng.random() < share for _ in range(number))))
        estimate = cluster_share(clusters)
        assert estimate is not None
        return estimate.interval(), 0.8

    assert_covers(coverage(draw))
