"""The codebook page of marts that dbt built; its numbers are compared with direct counts of the marts."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest
import yaml

from research_assets.report.codebook import MART_ORDER, MONTH_BASIS, Codebook, read_codebook, render_codebook
from research_assets.report.formatting import NO_VALUE
from research_assets.settings import DBT_PROJECT_DIR
from research_assets.warehouse.reader import connect_read_only
from research_assets_tests.report.html_parser import ParsedReport
from research_assets_tests.warehouse.conftest import BuiltWarehouse
from research_assets_tests.warehouse.raw_data import ANNA_VIDEO

Rows = Callable[[str], Sequence[tuple[Any, ...]]]
NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def book(built_warehouse: BuiltWarehouse) -> Codebook:
    with connect_read_only(built_warehouse.settings.warehouse) as connection:
        read = read_codebook(connection)
    assert read is not None
    return read


@pytest.fixture(scope="module")
def html(book: Codebook) -> str:
    return render_codebook(book, simulated=False, built=NOW, now=NOW)


@pytest.fixture(scope="module")
def page(html: str) -> ParsedReport:
    return ParsedReport(html)


def counted(rows: Rows, mart: str, names: Sequence[str], month: str) -> Iterator[tuple[date | None, tuple[int, ...]]]:
    """Yield the rows of a mart and the values of each column, in total (None) and by month."""
    counts = ", ".join(["count(*)", *(f'count("{name}")' for name in names)])
    for of, *numbers in rows(f"select null, {counts} from marts.{mart}"):
        yield of, tuple(numbers)
    if month:
        by = f"cast(date_trunc('month', {month}) as date)"
        for of, *numbers in rows(f"select {by}, {counts} from marts.{mart} where {month} is not null group by 1"):
            yield of, tuple(numbers)


def test_every_number_of_the_page_matches_the_marts(rows: Rows, book: Codebook, page: ParsedReport) -> None:
    assert {mart.name for mart in book.marts} == set(MART_ORDER)
    filled = 0
    for mart in book.marts:
        if mart.name == "codebook":
            continue
        names = [column.name for column in mart.columns]
        total, *by_month = counted(rows, mart.name, names, MONTH_BASIS.get(mart.name, ("",))[0])
        months = defaultdict[str, dict[date, tuple[int, int]]](dict)
        for of, numbers in by_month:
            for name, values in zip(names, numbers[1:], strict=True):
                assert of is not None
                months[name][of] = (numbers[0], values)
        for column, values in zip(mart.columns, total[1][1:], strict=True):
            expected = f"{values:,} of {total[1][0]:,}" if total[1][0] else NO_VALUE
            assert page.cells[f"{mart.name}.{column.name}"][3].endswith(expected), (mart.name, column.name)
            assert {one.month: (one.rows, one.filled) for one in column.months} == months[column.name]
            filled += values
    assert filled > 100


def test_month_columns_match_the_meta_of_the_models() -> None:
    files = (DBT_PROJECT_DIR / "models" / "marts").glob("_*.yml")
    models = [model for file in files for model in yaml.safe_load(file.read_text()).get("models", ())]
    meta = {model["name"]: model.get("config", {}).get("meta", {}) for model in models}
    assert {name: column for name, (column, _) in MONTH_BASIS.items()} == {
        name: model_meta["month_column"] for name, model_meta in meta.items() if "month_column" in model_meta
    }


def test_page_has_the_descriptions_of_dbt_and_no_personal_data(html: str, page: ParsedReport) -> None:
    page.is_self_contained()
    assert page.links == []
    assert page.cells["videos.like_count"] == [
        "like_count bigint, likes",
        "Likes as counted by the API (likes); up to 10 days old at delivery.",
        "videos.like_count since 2023",
        "60 % 3 of 5",
        "60 % in 2026-02",
    ]
    assert "19" in page.sections["known-changes"]
    assert "All public videos" in page.sections["known-changes"]
    assert not any(name in html for name in (str(ANNA_VIDEO), "anna", "dora"))
