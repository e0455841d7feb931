"""The page of a coverage board: its cells, its links, hostile reasons, large studies, and the asset that writes it."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dagster as dg
import httpx
import pytest

from research_assets.assets.coverage_board import coverage_board_asset
from research_assets.fields import ENTITIES
from research_assets.planning.coverage_board import (
    NOT_REQUESTED,
    STATE_SYMBOLS,
    BoardCell,
    BoardRow,
    CoverageBoard,
    build_board,
    read_board,
)
from research_assets.planning.coverage_summary import StateCount
from research_assets.planning.inputs import study_entities
from research_assets.report.coverage_board import MAX_REASON_CHARACTERS, LiveBoards, render_board
from research_assets.report.paths import board_path
from research_assets.report.serve import serve_reports
from research_assets.settings import Settings
from research_assets.storage.raw_writer import write_rows
from research_assets.study.spec import CommentRule, StudySpec, UserRule
from research_assets.text import html_text, one_line
from research_assets.units.coverage import state_label
from research_assets.units.periods import ObservedPeriods
from research_assets_tests.conftest import FakeClock
from research_assets_tests.hostile import ALERT, HOSTILE
from research_assets_tests.report.html_parser import ParsedReport
from research_assets_tests.report.report_warehouse import STUDY
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
DAY = timedelta(days=1)
DAGSTER = "http://127.0.0.1:3000"
START = date(2026, 2, 1)
GARDEN = replace(STUDY, end=None, comments=CommentRule("none"), users=UserRule("none"), panel=())


class Cells(HTMLParser):
    """The cells of a page: element, target, text and details, by the entity of their row."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.rows: dict[str, list[dict[str, str]]] = {}
        self.headings: list[str] = []
        self._row = ""
        self._in: list[str] = []
        self.feed(page)

    @property
    def lines(self) -> list[str]:
        """The titles of the lines, which begin with a year."""
        return [text for text in self.headings if re.match(r"\d{4}", text)]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        self._in.append("row" if named.get("scope") == "row" else tag)
        if "data-t" in named:
            self.rows.setdefault(self._row, []).append(named | {"tag": tag, "text": ""})
            self._in[-1] = "cell"

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002
        self._in.pop()

    def handle_data(self, data: str) -> None:
        if "row" in self._in:
            self._row = data
        elif self._in and self._in[-1] == "cell":
            self.rows[self._row][-1]["text"] = data
        elif self._in and self._in[-1] == "th" and data.strip():
            self.headings.append(data)


def count(state: Any, day: date, entity: str = "videos", reason: str | None = None, **more: Any) -> StateCount:
    return replace(StateCount("garden", entity, day, state, 1, 7, None, reason), **more)


def render(
    counts: Iterable[StateCount], spec: StudySpec = GARDEN, now: datetime = NOW, dagster_url: str = DAGSTER
) -> str:
    return render_board(build_board(spec, counts, {}, now), spec, simulated=True, dagster_url=dagster_url)


def test_page_has_a_cell_with_details_and_a_link_for_each_partition() -> None:
    counts = [
        count("complete", START),
        count("quarantined", START + DAY, reason="HTTP 500", next_try=datetime(2026, 3, 4, 9, tzinfo=UTC)),
        count("refused", START + 2 * DAY, next_try=datetime(2026, 3, 18, 9, tzinfo=UTC)),
        count("complete", START + 3 * DAY, units=1200),
        count("missing", START + 3 * DAY, units=2),
    ]
    page = render(counts)
    ParsedReport(page).is_self_contained()
    cells = Cells(page).rows["videos"]
    assert len(cells) == 30
    assert [cell["data-t"] for cell in cells[:5]] == [
        "videos 2026-02-01: complete\n1 of 1 unit settled, 7 rows",
        "videos 2026-02-02: quarantined\n0 of 1 unit settled, 7 rows\nReason: HTTP 500\nNext try: 2026-03-04 09:00 UTC",
        "videos 2026-02-03: refused\n1 of 1 unit settled, 7 rows\nNot requested again before 2026-03-18 09:00 UTC",
        "videos 2026-02-04: complete\n1,202 of 1,202 units settled, 14 rows\n1,200 complete, 2 missing",
        f"videos 2026-02-05: not requested\nReason: {NOT_REQUESTED}\nNext try: when quota is available",
    ]
    assert [cell["text"] for cell in cells[:5]] == ["#", "!", "x", "#", "."]
    assert cells[1]["href"] == f"{DAGSTER}/assets/garden/videos?view=partitions&partition=2026-02-02"
    # Today has not ended, so it is no partition to which a link could lead.
    assert [cell["tag"] for cell in cells[-2:]] == ["a", "b"]
    assert "As of 2026-03-02 09:00 UTC" in page
    assert "Simulated data." in page


def test_legend_counts_partitions_and_units_of_all_states() -> None:
    states = list(STATE_SYMBOLS)
    page = render([count(state, START + n * DAY, units=n + 2) for n, state in enumerate(states)])
    legend = re.findall(r"<strong>([a-z ]+)</strong><br>\s*([\d,]+) partitions?, ([\d,]+) units", page)
    assert [(label, int(units)) for label, _, units in legend] == [
        (label, n + 2)
        for n, label in enumerate(
            ("complete", "refused", "missing", "partial", "suspicious", "quarantined", "too fresh", "not requested")
        )
    ]
    assert sum(int(partitions) for _, partitions, _ in legend) == 30


def test_page_without_the_address_of_dagster_has_no_link() -> None:
    page = ParsedReport(render([count("complete", START)], dagster_url=""))
    assert page.links == []
    assert "in Dagster" not in render([], dagster_url="")
    assert len(Cells(render([], dagster_url="")).rows["videos"]) == 30


def test_past_period_says_that_it_cannot_be_collected() -> None:
    spec = replace(GARDEN, users=UserRule("panel"), panel=("anna",))
    monday = date(2026, 2, 23)
    counts = [count(state, monday - n * 7 * DAY, "users") for n, state in enumerate(("partial", "complete"))]
    board = build_board(spec, counts, {"users": ObservedPeriods(date(2026, 2, 16))}, NOW)
    cells = Cells(render_board(board, spec, simulated=False)).rows["users"]
    assert [cell["data-t"].splitlines()[0] for cell in cells] == [
        "users 2026-02-16: complete",
        "users 2026-02-23: partial",
        "users 2026-03-02: not requested",
    ]
    assert "the period has ended" in cells[1]["data-t"]
    assert "when quota is available" in cells[2]["data-t"]


def test_hostile_reasons_are_text() -> None:
    reasons = [text for text in HOSTILE if text.strip()]
    spec = replace(GARDEN, start=NOW.date() - len(reasons) * DAY)
    page = render([count("partial", spec.start + n * DAY, reason=text) for n, text in enumerate(reasons)], spec)
    ParsedReport(page).is_self_contained()
    assert ALERT not in page
    shown = [cell["data-t"] for cell in Cells(page).rows["videos"][: len(reasons)]]
    for text, reason in zip(shown, reasons, strict=True):
        assert f"Reason: {html_text(one_line(reason, MAX_REASON_CHARACTERS))}\n" in text
        assert len(text) < MAX_REASON_CHARACTERS + 200


@pytest.mark.parametrize(
    ("start", "end", "tables"),
    [
        (date(2026, 2, 1), date(2026, 2, 1), ["2026"]),
        # A study that fits is one line, also across a quarter and a year.
        (date(2025, 12, 10), date(2026, 2, 28), ["2025"]),
        (date(2025, 9, 1), date(2026, 1, 1), ["2025, quarter 3", "2025, quarter 4", "2026, quarter 1"]),
    ],
)
def test_long_study_has_a_line_for_each_quarter(start: date, end: date, tables: list[str]) -> None:
    page = Cells(render([], replace(GARDEN, start=start, end=end)))
    assert page.lines == tables
    assert len(page.rows["videos"]) == (end - start).days + 1


def test_quarter_without_a_partition_has_no_line() -> None:
    board = CoverageBoard(
        "garden",
        NOW,
        [BoardRow("videos", DAY, {day: BoardCell("complete") for day in (date(2024, 1, 5), date(2026, 1, 5))})],
    )
    page = Cells(render_board(board, GARDEN, simulated=False))
    assert page.lines == ["2024, quarter 1", "2026, quarter 1"]


def test_ten_years_of_all_entities_are_a_page_of_moderate_size() -> None:
    spec = replace(STUDY, start=date(2016, 3, 2), end=None, observe="daily", users=UserRule("panel"), playlists=True)
    first = ObservedPeriods(spec.start)
    entities = study_entities(spec)
    assert set(entities) == set(ENTITIES)
    reason = "The API returned HTTP 500 internal_error for every request of this day."
    counts = [
        count("quarantined" if n % 7 == 0 else "complete", spec.start + n * DAY, entity, reason if n % 7 == 0 else None)
        for entity in entities
        for n in range(3653)
    ]
    board = build_board(spec, counts, dict.fromkeys(entities, first), NOW)
    page = render_board(board, spec, simulated=False, dagster_url=DAGSTER)
    assert sum(len(row) for row in Cells(page).rows.values()) == 9 * 3653
    assert len(page) < 8_000_000


def test_server_renders_the_current_state_at_each_request(settings: Settings, tmp_path: Path) -> None:
    write(tmp_path / "studies" / "one", MINIMAL_STUDY + "comments: none\nusers: none\nend: 2026-02-03\n")
    settings = replace(settings, studies=(tmp_path / "studies",), dagster_url=DAGSTER)
    row = {
        "entity": "videos", "partition": START, "unit_kind": "day", "unit": str(START), "kept": 3, "offered": 3,
        "last_at": NOW, "capture": "c1", "state": "complete",
    }  # fmt: skip

    def states(address: str) -> Counter[str]:
        page = httpx.get(f"{address}/gardening-coverage.html")
        assert page.status_code == 200
        assert "Reload the page" in page.text
        return Counter(cell["text"] for cell in Cells(page.text).rows["videos"])

    with serve_reports(settings.reports, live=LiveBoards(settings)) as address:
        assert 'href="gardening-coverage.html"' in httpx.get(f"{address}/").text
        assert states(address) == {".": 3}
        write_rows(settings.raw, "coverage", study="gardening", day=START, name="c1", rows=[row])
        assert states(address) == {"#": 1, ".": 2}
        assert httpx.get(f"{address}/other-coverage.html").status_code == 404
        # A damaged file that no capture can replace: the answer names it.
        [file] = (settings.raw / "coverage").glob("study=gardening/*/c1.parquet")
        file.write_bytes(file.read_bytes()[:-1])
        answer = httpx.get(f"{address}/gardening-coverage.html")
        assert answer.status_code == 503
        assert "c1.parquet" in answer.text
    assert not settings.reports.exists(), "nothing is written"


def test_asset_writes_the_board_without_marts(settings: Settings) -> None:
    settings = replace(settings, reports_url="http://127.0.0.1:3001", dagster_url=DAGSTER)
    asset = coverage_board_asset(STUDY, settings, clock=FakeClock(NOW))
    [spec] = asset.specs
    assert spec.key == dg.AssetKey(["garden", "coverage_board"])
    assert spec.group_name == "results/garden"
    assert spec.kinds == {"html", "simulated"}
    assert {dep.asset_key for dep in spec.deps} == {dg.AssetKey(["garden", entity]) for entity in study_entities(STUDY)}
    assert not settings.warehouse.exists()
    with dg.DagsterInstance.ephemeral() as instance:
        [event] = dg.materialize([asset], instance=instance).get_asset_materialization_events()
    metadata = event.materialization.metadata
    path = board_path(settings, "garden")
    assert metadata["open"] == dg.MetadataValue.url("http://127.0.0.1:3001/garden-coverage.html")
    assert metadata["file"] == dg.MetadataValue.path(path)
    assert path.stat().st_mode & 0o777 == 0o600
    board = read_board(settings, STUDY, NOW)
    assert {
        state: metadata[f"{state_label(state)} partitions"].value for state in STATE_SYMBOLS
    } == board.count_partitions()
    # Two entities of six days, and six entities in one period each.
    assert metadata["partitions"].value == 2 * 6 + 6
    page = path.read_text()
    assert "research-assets ui serves the current state" in page
    assert f'href="{DAGSTER}/assets/garden/videos?view=partitions&amp;partition=2026-02-06"' in page
