"""The share of simulated samples whose 95 % interval contains the truth: between 93 % and 97 % of 1,000."""

from collections.abc import Callable
from datetime import date, timedelta
from random import Random

import pytest

from research_assets.estimates.population import draws_for_precision, estimate_population, uniformity_p_value
from research_assets.estimates.shares import cluster_share
from research_assets.estimates.stratified import Stratum, estimate_ratio, estimate_total
from research_assets.report.data import SampledDay
from research_assets.report.day_sample import strata_of
from research_assets.study.day_sample import DaySample, Stratifier
from research_assets.study.spec import StudySpec

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


@pytest.mark.parametrize("quantity", ["total", "mean of a video"])
@pytest.mark.parametrize("by_weekday", [False, True])
def test_interval_of_a_stratified_sample_of_days(quantity: str, by_weekday: bool) -> None:
    """A year: six days a month, or one day of each month and weekday, which leaves strata with one day."""
    rng = Random(3)
    weekly = [1.0, 1.0, 1.1, 1.1, 1.3, 1.6, 1.5]
    days = []
    for day in range(364):
        videos = 300 * weekly[day % 7] * (1 + 0.0005 * day) * rng.gammavariate(25, 1 / 25)
        days.append((day // 28, day % 7, (videos * rng.gammavariate(10, 20), videos)))
    groups: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for month, weekday, values in days:
        groups.setdefault((weekday if by_weekday else 0, month), []).append(values)
    strata = [groups[key] for key in sorted(groups)]
    views, videos = (sum(values[column] for _, _, values in days) for column in (0, 1))

    def draw(rng: Random) -> tuple[tuple[float, float] | None, float]:
        drawn = [Stratum(len(one), tuple(rng.sample(one, 1 if by_weekday else 6))) for one in strata]
        if quantity == "total":
            return estimate_total(drawn).interval(), views
        mean = estimate_ratio(drawn)
        assert mean is not None
        return mean.interval(), views / videos

    assert_covers(coverage(draw))


@pytest.mark.parametrize("by", [("weekday",), ("quarter",), ("month",), ("month", "weekday"), ()])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_interval_of_a_study_that_covers_strata_in_part(by: tuple[Stratifier, ...], missing: float) -> None:
    """Ten weeks that begin and end within months, of which up to a third of the drawn days are missing."""
    first, last = date(2026, 2, 10), date(2026, 4, 20)
    rng, weekly = Random(3), [1.0, 1.0, 1.1, 1.1, 1.3, 1.6, 1.5]
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    videos = {day: 300 * weekly[day.weekday()] * rng.gammavariate(25, 1 / 25) for day in days}
    estimates = []

    def draw(rng: Random) -> tuple[tuple[float, float] | None, float]:
        study = StudySpec(
            name="s", query={}, start=first, end=last, day_sample=DaySample(0.3, by, seed=rng.randrange(10**6))
        )
        drawn = [SampledDay(day, rng.random() >= missing, (videos[day],) * 5) for day in study.days_to(last)]
        total = estimate_total(strata_of(study, drawn, last))
        estimates.append(total.value)
        return total.interval(), sum(videos.values())

    share = coverage(draw)
    assert 0.92 <= share <= 0.98, f"coverage {share:.1%}"
    assert sum(estimates) / len(estimates) == pytest.approx(sum(videos.values()), rel=0.01)


@pytest.mark.parametrize("size", [1737, 6000])
def test_limits_of_a_population_from_random_draws(size: int) -> None:
    n_draws = draws_for_precision(size, 0.1)

    def draw(rng: Random) -> tuple[tuple[float, float] | None, float]:
        found = estimate_population([rng.sample(range(size), 100) for _ in range(n_draws)])
        assert found.high is not None
        return (found.low, found.high), size

    assert_covers(coverage(draw))


def test_uniform_draws_are_rarely_called_uneven() -> None:
    rng = Random(5)
    groups = [int(rng.random() ** 2 * 6) for _ in range(3000)]
    small = 0
    for _ in range(DRAWS):
        p_value = uniformity_p_value([{i: groups[i] for i in rng.sample(range(3000), 100)} for _ in range(17)])
        assert p_value is not None
        small += p_value < 0.05
    assert 0.03 <= small / DRAWS <= 0.07, f"{small / DRAWS:.1%}"


def test_lower_bound_of_draws_with_unequal_probability() -> None:
    """Weights with a coefficient of variation of 1 halve the estimate."""
    rng = Random(5)
    weights = [rng.expovariate(1) for _ in range(3000)]
    found = estimate_population([set(rng.choices(range(3000), weights, k=50)) for _ in range(30)])
    assert found.estimate == pytest.approx(1500, rel=0.1)
