"""The runner tells a kept bound from a missed one, and never passes by measuring nothing."""

import math
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from research_assets_tests.benchmarks import Row
from research_assets_tests.benchmarks import __main__ as runner


@pytest.mark.parametrize(
    ("row", "kept"),
    [
        (Row("c", 67, "requests", 67), True),
        (Row("c", 68, "requests", 67), False),
        (Row("c", 2000, "pages/s", 2000, sense="at least"), True),
        (Row("c", 1999, "pages/s", 2000, sense="at least"), False),
        (Row("c", 1000, "requests", 1000, sense="exactly"), True),
        (Row("c", 999, "requests", 1000, sense="exactly"), False),
        (Row("c", math.nan, "s", 1), False),
        (Row("peer", 5, "s"), True),
    ],
)
def test_a_bound_is_kept_or_not(row: Row, kept: bool) -> None:
    assert row.kept is kept


def run(monkeypatch: pytest.MonkeyPatch, found: dict[str, list[Row] | Exception], *args: str) -> tuple[int, str]:
    def measure(name: str) -> Iterator[Row]:
        outcome = found[name]
        if isinstance(outcome, Exception):
            raise outcome
        yield from outcome

    monkeypatch.setattr(runner, "names", lambda: list(found))
    monkeypatch.setattr(runner, "measure", measure)
    result = CliRunner().invoke(runner.main, list(args))
    return result.exit_code, result.output


GOOD, BAD = Row("good case", 1, "s", 2), Row("bad case", 3, "s", 2)


def test_all_bounds_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = run(monkeypatch, {"a": [GOOD], "b": [BAD]}, "a")
    assert code == 0
    assert "good case" in said
    assert "bad case" not in said


def test_a_missed_bound_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = run(monkeypatch, {"a": [GOOD, BAD]})
    assert code == 1
    assert "missed: bad case" in said


def test_a_benchmark_that_breaks_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = run(monkeypatch, {"a": ZeroDivisionError("broken"), "b": [GOOD]})
    assert code == 1
    assert "failed: a" in said
    assert "good case" in said


def test_nothing_measured_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, {})[0] == 1


def test_an_unknown_name_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    code, said = run(monkeypatch, {"a": [GOOD]}, "b")
    assert code == 2
    assert "There are: a" in said
