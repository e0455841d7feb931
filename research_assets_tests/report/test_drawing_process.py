"""A chart that cannot be drawn costs its own picture only: the process that draws it may crash, hang or grow."""

import logging
import os
import signal
from functools import partial
from typing import Any

import pytest

from research_assets.report import charts, drawing_process
from research_assets.report.data import Bin, Distribution, RankedItem
from research_assets.report.drawing_process import Picture, draw_figures
from research_assets.report.elements import ReportFigure
from research_assets.report.write import write_report
from research_assets.settings import Settings
from research_assets_tests.hostile import HOSTILE, SURROGATES
from research_assets_tests.report.conftest import NOW
from research_assets_tests.report.html_parser import ParsedReport
from research_assets_tests.report.report_warehouse import STUDY, garden_rows, publish


def figure(name: str, draw: "partial[Any]") -> ReportFigure:
    return ReportFigure(name, draw, "A chart", "A caption.")


def ranking(*names: str, median: float | None = 5.0) -> "partial[Any]":
    return partial(charts.ranking_chart, [RankedItem(name, 3, 1, median, 9) for name in names], "videos", "#")


def histogram(median: float | None, *bins: Bin, zeros: int = 0) -> "partial[Any]":
    part = Distribution("Views", "videos", 3, 0, zeros, bins, median, median, median, median, median, zeros)
    return partial(charts.distribution_chart, [part])


def busy() -> None:
    while True:
        pass


def grow() -> None:
    kept = []
    while True:
        kept.append(bytearray(64 * 1024**2))


ABORTED = f"the chart library ended with {signal.strsignal(signal.SIGABRT)}"

FAULTS: dict[str, tuple[partial[Any], str]] = {
    "abort": (partial(os.abort), ABORTED),
    "exit": (partial(os._exit, 3), "the chart library ended with exit code 3"),
    "quiet": (partial(os._exit, 0), "the process that draws charts gave no answer"),
    "memory": (partial(grow), "the chart cannot be built (MemoryError)"),
    "error": (partial(int, "hostile"), "the chart cannot be built (ValueError)"),
}


def test_fault_costs_only_the_picture_of_its_chart() -> None:
    good = ranking("garden")
    faults = [figure(name, draw) for name, (draw, _) in FAULTS.items()]
    pictures = draw_figures([figure("first", good), *faults, figure("last", good)], png=["last"])
    assert {name: pictures[name] for name in FAULTS} == {
        name: Picture(problem=problem) for name, (_, problem) in FAULTS.items()
    }
    assert all(pictures[name].svg.startswith("<svg") and not pictures[name].problem for name in ("first", "last"))
    assert pictures["last"].png.startswith(b"\x89PNG")
    assert pictures["first"].png == b""


def test_chart_that_needs_too_much_processor_time_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing_process, "MAX_CPU_SECONDS", 6)
    good = ranking("garden")
    pictures = draw_figures([figure("first", good), figure("busy", partial(busy)), figure("last", good)])
    assert pictures["busy"].problem == f"the chart library ended with {signal.strsignal(signal.SIGXCPU)}"
    assert pictures["first"].svg
    assert pictures["last"].svg


def test_chart_that_never_ends_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drawing_process, "MAX_SECONDS", 1)
    pictures = draw_figures([figure("idle", partial(signal.pause)), figure("last", ranking("a"))])
    assert {picture.problem for picture in pictures.values()} == {"the charts took more than 1 seconds"}


def test_child_has_neither_the_environment_nor_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / "altair.py").write_text("raise SystemExit(9)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TIKTOK_CLIENT_SECRET", "s3cret")
    pictures = draw_figures([figure("secret", partial(_require_environment)), figure("chart", ranking("garden"))])
    assert pictures["secret"].problem == "the chart cannot be built (LookupError)"
    assert pictures["chart"].problem == ""


def _require_environment() -> None:
    """Raise LookupError if this process has no secret, and another error if it has one."""
    if "TIKTOK_CLIENT_SECRET" in os.environ:
        raise AssertionError("the child has the secret")
    raise LookupError


def test_hostile_texts_and_numbers_are_drawn() -> None:
    texts = [*HOSTILE, *SURROGATES]
    nan, inf = float("nan"), float("inf")
    figures = [
        *(figure(f"text {index}", ranking(text)) for index, text in enumerate(texts)),
        figure("texts", ranking(*texts)),
        *(
            figure(f"median {number}", ranking("a", "b", median=number))
            for number in (-3.0, 0.0, nan, inf, -inf, 1e300, None)
        ),
        figure("no bins", histogram(-5.0)),
        *(figure(f"bin {number}", histogram(number, Bin(1, 2, 3))) for number in (-3.0, nan, inf, 1e300, None)),
        figure("huge", histogram(5e18, Bin(5e18, 1e19, 1), zeros=2)),
    ]
    pictures = draw_figures(figures)
    assert {name: picture.problem for name, picture in pictures.items() if picture.problem} == {}
    assert pictures["texts"].svg.count("<title>") >= len(texts)


def test_report_without_a_chart_says_so(settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    publish(settings, garden_rows())
    # The function that the child calls aborts its process, as the chart library does.
    monkeypatch.setattr(charts, "quota_chart", _abort)
    with caplog.at_level(logging.WARNING):
        written = write_report(settings, STUDY, NOW)
    assert written.problems == {"quota": ABORTED}
    assert "quota" not in written.pictures
    page = ParsedReport(written.path.read_text())
    assert f"No chart: {ABORTED}. The tables of this section have its numbers." in (
        " ".join(page.sections["quota"].split())
    )
    assert "No chart" not in page.sections["volume"]
    assert f"The report on garden has no chart 'quota': {ABORTED}" in caplog.text


def _abort(*_: object) -> None:
    os.abort()
