"""Shares, precision and recall with their intervals, against textbook values and simulation."""

import random

import pytest

from research_assets.estimates.proportions import CodedItem, precision, recall, weighted_proportion


def test_equal_weights_return_the_interval_of_wilson() -> None:
    found = weighted_proportion([(True, 0.1)] * 81 + [(False, 0.1)] * 182)
    assert found is not None
    # Newcombe 1998, table I: 81 of 263.
    assert (round(found.low, 4), round(found.high, 4)) == (0.2553, 0.3662)
    assert found.share == pytest.approx(81 / 263)
    assert found.effective == pytest.approx(263)


def test_weights_correct_an_unequal_draw() -> None:
    # All 10 rare items and 10 of 90 common ones: 10 of 100 have the property.
    found = weighted_proportion([(True, 1.0)] * 10 + [(False, 1 / 9)] * 10)
    assert found is not None
    assert found.share == pytest.approx(0.1)
    assert found.low < 0.1 < found.high
    assert found.effective < 20


def test_extremes_and_empty_samples() -> None:
    none, every = weighted_proportion([(False, 0.5)] * 5), weighted_proportion([(True, 0.5)] * 5)
    assert none is not None
    assert every is not None
    assert (none.low, every.high) == (0.0, 1.0)
    assert none.high > 0.3
    assert weighted_proportion([]) is None
    with pytest.raises(ValueError, match="inclusion probability"):
        weighted_proportion([(True, 0.0)])


def test_recall_needs_items_beyond_the_rule() -> None:
    inside = [CodedItem(True, True, 0.1), CodedItem(False, True, 0.1)]
    assert recall(inside) is None
    found = recall([*inside, CodedItem(True, False, 0.5)])
    assert found is not None
    assert found.share == pytest.approx(10 / 12)
    shown = precision(inside)
    assert shown is not None
    assert shown.share == 0.5


@pytest.mark.long
@pytest.mark.parametrize(("by_rule", "most"), [(False, 970), (True, 1000)])
def test_intervals_cover_the_truth_in_95_of_100_draws(by_rule: bool, most: int) -> None:
    """A draw by the rule fixes how many items it selects, so the interval of recall is rather too wide then."""
    rng = random.Random(7)
    # 40,000 items; the rule selects 10,000. Precision 0.7, recall 700 / 880.
    selected = [CodedItem(relevant, True, 0.015) for relevant in [True] * 7_000 + [False] * 3_000]
    others = [CodedItem(relevant, False, 0.015) for relevant in [True] * 1_800 + [False] * 28_200]
    covered = {"precision": 0, "recall": 0}
    for _ in range(1000):
        items = rng.sample(selected, 150) + rng.sample(others, 450) if by_rule else rng.sample(selected + others, 600)
        for name, found, truth in (("precision", precision(items), 0.7), ("recall", recall(items), 700 / 880)):
            assert found is not None
            covered[name] += found.low <= truth <= found.high
    assert all(930 <= number <= most for number in covered.values()), covered
