"""Ids that a program has rounded are recognized by their value; true ids are not suspected."""

from collections.abc import Callable
from random import Random

import pytest

from research_assets.tiktok.ids import find_rounded_ids


def true_ids(number: int, seed: int) -> list[int]:
    random = Random(seed)
    return [random.randrange(1_500_000_000, 1_790_000_000) << 32 | random.getrandbits(32) for _ in range(number)]


def as_spreadsheet(identifier: int) -> int:
    return int(str(identifier)[:15].ljust(len(str(identifier)), "0"))


def as_javascript(identifier: int) -> int:
    mantissa, _, exponent = f"{float(identifier)!r}".partition("e+")
    digits = mantissa.replace(".", "")
    return int(digits.ljust(int(exponent) + 1, "0"))


@pytest.mark.parametrize("rounded", [lambda one: int(float(one)), as_javascript, as_spreadsheet])
@pytest.mark.parametrize("number", [1, 2, 10, 500])
def test_lists_of_rounded_ids_are_recognized(rounded: Callable[[int], int], number: int) -> None:
    for seed in range(200 if number < 10 else 20):
        ids = [rounded(one) for one in true_ids(number, seed)]
        found = find_rounded_ids(ids)
        assert found is not None
        assert found.is_certain
        assert set(found.ids) == set(ids)
        if number >= 10:
            assert ("spreadsheet kept the first 15 digits" in found.cause) is (rounded is as_spreadsheet)
        assert "as text" in str(found)


def test_a_tenth_of_rounded_ids_among_true_ones_is_recognized() -> None:
    ids = true_ids(900, 1) + [int(float(one)) for one in true_ids(100, 2)]
    found = find_rounded_ids(ids)
    assert found is not None
    assert found.is_certain


def test_a_list_of_true_ids_is_seldom_refused() -> None:
    refused = sum(bool((found := find_rounded_ids(true_ids(1131, seed))) and found.is_certain) for seed in range(300))
    assert refused <= 300 * 0.06, "uniform random ids; those of the API end in zeros less often"


def test_one_multiple_of_a_thousand_among_many_true_ids_is_named_but_not_refused() -> None:
    ids = [one | 1 for one in true_ids(1130, 3)]
    found = find_rounded_ids([*ids, 7503867840092128000])
    assert found is not None
    assert not found.is_certain
    assert found.ids == (7503867840092128000,)


def test_small_numbers_are_never_rounded() -> None:
    assert find_rounded_ids([0, 260_000, 2**52, 1_000_000_000_000]) is None
