"""Whether a number of hits is plausible, given the hits of other days: a test for over-dispersed counts.

Videos a day vary more than independent events would (weekends, events, viral posts), so the counts are modelled by a
negative binomial distribution with the mean and the variance of all known days, empty ones included. Its variance is
mean + mean² / size; a small size means a large spread, and makes the test cautious. With few known days the spread is
uncertain, so the size is limited by their number.

Error rates: a day or an empty stretch of days is questioned without cause with a probability of at most `ALPHA`, if the
days follow the model. A day that lost all its hits is noticed from an expected `-ln(ALPHA)` = 6.9 hits on (days of
equal volume), a day that lost nine tenths of them from about 20.

Pure functions. Not here: what follows from a doubt (see collect/search/conclude.py).
"""

from collections.abc import Sequence
from math import exp, lgamma, log
from statistics import fmean, variance

ALPHA = 0.001
"""Probability below which a number of hits is questioned."""

MIN_SIZE_DAYS = 2
"""Limit of the size for days without a known day beside them; each known day raises it by one."""

MIN_REFOUND_SHARE = 0.9
"""Share of the videos of an interrupted search below which its repetition lacks some. Assumption: within some days,
fewer than one video in ten is deleted or made private."""

MIN_RELIABLE_HITS = 7
"""Videos that an earlier attempt found from which their absence is no chance."""


def lost_known_videos(found: int, earlier: int) -> bool:
    """Return whether a repeated search `found` clearly fewer videos than an `earlier` one that was interrupted."""
    return earlier >= MIN_RELIABLE_HITS and found < MIN_REFOUND_SHARE * earlier


def probability_of_at_most(hits: int, n_days: int, known: Sequence[float]) -> float:
    """Return the probability of at most `hits` in `n_days` days together, given the hits of other `known` days.

    Without known days the result is 1: nothing is implausible.
    """
    mean = fmean(known) if known else 0.0
    if mean <= 0:
        return 1.0
    size = float(MIN_SIZE_DAYS + len(known))
    excess = variance(known) - mean if len(known) > 1 else 0.0
    if excess > 0:
        size = min(size, mean**2 / excess)
    mean, size = mean * n_days, size * n_days
    log_failure, log_success = log(size / (size + mean)), log(mean / (size + mean))
    return min(
        1.0,
        sum(
            exp(lgamma(size + n) - lgamma(size) - lgamma(n + 1) + size * log_failure + n * log_success)
            for n in range(hits + 1)
        ),
    )
