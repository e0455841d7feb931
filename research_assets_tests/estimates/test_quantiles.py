"""Quantiles and tails against published tables."""

import pytest

from research_assets.estimates.quantiles import chi_square_tail, poisson_limits, t_quantile


@pytest.mark.parametrize(
    ("degrees", "expected"), [(1, 12.7062), (2, 4.30265), (9, 2.262157), (29, 2.045230), (10_000, 1.960201)]
)
def test_quantiles_of_t_equal_the_table(degrees: int, expected: float) -> None:
    assert t_quantile(0.975, degrees) == pytest.approx(expected, rel=1e-5)
    assert t_quantile(0.025, degrees) == -t_quantile(0.975, degrees)
    assert t_quantile(0.5, degrees) == 0


# Garwood 1936, as printed in tables of exact Poisson limits.
@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(0, 0.0, 3.6889), (1, 0.0253, 5.5716), (10, 4.7954, 18.3904), (100, 81.3640, 121.6268)],
)
def test_poisson_limits_equal_the_table(count: int, low: float, high: float) -> None:
    assert poisson_limits(count) == pytest.approx((low, high), abs=1e-4)


def test_tails_of_chi_squared_equal_the_table() -> None:
    for value, degrees in ((3.841459, 1), (18.307038, 10), (36.415029, 24), (124.342113, 100)):
        assert chi_square_tail(value, degrees) == pytest.approx(0.05, rel=1e-5)
    assert chi_square_tail(0, 3) == 1


def test_impossible_arguments_are_named() -> None:
    with pytest.raises(ValueError, match="t_quantile"):
        t_quantile(1, 3)
    with pytest.raises(ValueError, match="poisson_limits"):
        poisson_limits(-1)
