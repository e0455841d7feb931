"""The runner of the benchmarks: met and missed bounds, failing benchmarks, and runs without measurements."""

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
def test_row_meets_or_misses_its_bound(row: Row, kept: bool) -> None:
    assert row.kept is kept


def run(monkeypatch: pytest.MonkeyPatch, results: dict[str, list[Row] | Exception], *args: str) -> tuple[int, str]:
    def measure(name: str) -> Iterator[Row]:
        outcome = results[name]
        if isinstance(outcome, Exception):
            raise outcome
        yield from outcome

    monkeypatch.setattr(runner, "names", lambda: list(results))
    monkeypatch.setattr(runner, "measure", measure)
    result = CliRunner().invoke(runner.main, list(args))
    return result.exit_code, result.output


GOOD, BAD = Row("good case", 1, "s", 2), Row("bad case", 3, "s", 2)


def test_runner_succeeds_if_all_bounds_are_met(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run(monkeypatch, {"a": [GOOD], "b": [BAD]}, "a")
    assert code == 0
    assert "good case" in output
    assert "bad case" not in output


def test_runner_fails_if_a_bound_is_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run(monkeypatch, {"a": [GOOD, BAD]})
    assert code == 1
    assert "missed: bad case" in output


def test_failing_benchmark_does_not_stop_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run(monkeypatch, {"a": ZeroDivisionError("broken"), "b": [GOOD]})
    assert code == 1
    assert "failed: a" in output
    assert "good case" in output


def test_runner_fails_without_measurements(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run(monkeypatch, {})[0] == 1


def test_unknown_name_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    code, output = run(monkeypatch, {"a": [GOOD]}, "b")
    assert code == 2
    assert "Known: a" in output
