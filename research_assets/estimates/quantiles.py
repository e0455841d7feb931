"""Distribution functions and quantiles that the standard library lacks: Student's t, chi-squared and Poisson.

Each is a finite sum or a continued fraction, exact to about 10 digits; a dependency on SciPy would be larger than the
rest of the environment's numerics together.
"""

from collections.abc import Callable
from math import exp, inf, lgamma, log, log1p, sqrt
from statistics import NormalDist

_TINY = 1e-300
_DIGITS = 1e-14


def t_quantile(probability: float, degrees: float) -> float:
    """Return a quantile of Student's t distribution for a probability in (0, 1)."""
    if not 0 < probability < 1 or degrees <= 0:
        raise ValueError(f"t_quantile({probability}, {degrees}): needs 0 < probability < 1 and degrees above 0")
    if probability == 0.5:
        return 0.0
    if probability < 0.5:
        return -t_quantile(1 - probability, degrees)
    # P(|T| > t) = I_x(degrees/2, 1/2) with x = degrees/(degrees + t²).
    x = _root(lambda x: _beta_cdf(x, degrees / 2, 0.5) - 2 * (1 - probability), 0.0, 1.0)
    return sqrt(degrees * (1 - x) / x) if x else inf


def chi_square_tail(value: float, degrees: float) -> float:
    """Return the probability that a chi-squared variable exceeds a value."""
    return 1.0 if value <= 0 else _gamma_tail(degrees / 2, value / 2)


def poisson_limits(count: int, level: float = 0.95) -> tuple[float, float]:
    """Return the exact confidence limits of a Poisson mean, given a count (Garwood 1936).

    The lower limit of a count of zero is 0.
    """
    if count < 0:
        raise ValueError(f"poisson_limits({count}): needs a count of 0 or more")
    alpha = (1 - level) / 2
    # P(N >= count; mean) = 1 - Q(count, mean); P(N <= count; mean) = Q(count + 1, mean).
    ceiling = 10 + count + 20 * sqrt(count + 1)
    low = _root(lambda mean: _gamma_tail(count, mean) - (1 - alpha), 0.0, ceiling) if count else 0.0
    return low, _root(lambda mean: _gamma_tail(count + 1, mean) - alpha, 0.0, ceiling)


def normal_quantile(probability: float) -> float:
    """Return a quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(probability)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Return the zero of a monotone function between two bounds, by bisection."""
    rises = function(high) > function(low)
    for _ in range(200):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if (function(middle) > 0) == rises:
            high = middle
        else:
            low = middle
    return (low + high) / 2


def _gamma_tail(shape: float, x: float) -> float:
    """Return the regularized upper incomplete gamma function Q (Abramowitz and Stegun 6.5.29, 6.5.31)."""
    if x <= 0:
        return 1.0
    scale = exp(shape * log(x) - x - lgamma(shape))
    if x < shape + 1:
        term = total = 1 / shape
        step = shape
        while term > total * _DIGITS:
            step += 1
            term *= x / step
            total += term
        return 1 - total * scale
    return scale * _continued_fraction(
        lambda number: -number * (number - shape), lambda number: x + 2 * number + 1 - shape
    )


def _continued_fraction(numerator: Callable[[int], float], denominator: Callable[[int], float]) -> float:
    """Return 1/(b0 + a1/(b1 + a2/(b2 + …))) by the modified Lentz method."""
    value = denominator(0) or _TINY
    c, d = value, 0.0
    for number in range(1, 10_000):
        a, b = numerator(number), denominator(number)
        d = 1 / (b + a * d or _TINY)
        c = b + a / c or _TINY
        value *= c * d
        if abs(c * d - 1) < _DIGITS:
            break
    return 1 / value


def _beta_cdf(x: float, a: float, b: float) -> float:
    """Return the regularized incomplete beta function (Abramowitz and Stegun 26.5.8)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _beta_cdf(1 - x, b, a)
    scale = exp(lgamma(a + b) - lgamma(a) - lgamma(b) + a * log(x) + b * log1p(-x)) / a

    def numerator(number: int) -> float:
        half, odd = divmod(number, 2)
        if odd:
            return -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        return half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))

    return scale * _continued_fraction(numerator, lambda _: 1.0)
