"""The mart `codebook`: every column of every mart with description, fill rate and examples, without personal data."""

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from research_assets import fields
from research_assets_tests.warehouse.raw_data import ANNA_VIDEO

Rows = Callable[[str], Sequence[tuple[Any, ...]]]


def test_codebook_contains_every_column_of_every_mart(rows: Rows) -> None:
    stored_columns = rows(
        "select table_name, column_name, column_index, lower(data_type) from duckdb_columns() "
        "where schema_name = 'marts' order by 1, 3"
    )
    listed = rows("select mart, column_name, column_number, type from marts.codebook order by 1, 3")
    assert [row[:3] for row in listed] == [row[:3] for row in stored_columns]
    aliases = {"timestamptz": "timestamp with time zone", "struct(": "struct("}
    for (mart, column, _, kind), (_, _, _, stored) in zip(listed, stored_columns, strict=True):
        if not kind.startswith("struct"):
            assert aliases.get(kind, kind) == stored, (mart, column)


def test_columns_have_description_unit_and_origin(rows: Rows) -> None:
    assert rows(
        "select description, type, unit, source_field, available_since from marts.codebook "
        "where mart = 'videos' and column_name in ('duration_seconds', 'created_at', 'capture') order by column_number"
    ) == [
        (
            "Publication time of the video (UTC); null if the API returned no time from 1970 to 9999.",
            "timestamptz",
            "UTC",
            "videos.create_time",
            "2023",
        ),
        ("Length of the video (seconds).", "bigint", "seconds", "videos.video_duration", "2024-07-09"),
        ("Capture that contains the newest observation.", "varchar", None, None, None),
    ]


def test_every_number_except_ids_has_a_unit(rows: Rows) -> None:
    assert (
        rows(
            "select mart, column_name from marts.codebook where unit is null "
            "and type in ('bigint', 'integer', 'double') and not column_name like '%\\_id' escape '\\'"
        )
        == []
    )


def test_every_source_field_is_in_the_registry(rows: Rows) -> None:
    availability = {
        f"{entity.name}.{field.name}": field.since for entity in fields.ENTITIES.values() for field in entity.fields
    }
    for source, since in rows(
        "select distinct source_field, available_since from marts.codebook where source_field is not null"
    ):
        assert availability[source] == since


def test_fill_rates_are_counted_in_total_and_by_month(rows: Rows) -> None:
    ((n_rows, n_filled, rate, months),) = rows(
        "select n_rows, n_filled, fill_rate, fill_by_month from marts.codebook "
        "where mart = 'videos' and column_name = 'like_count'"
    )
    assert (n_rows, n_filled, rate) == (5, 3, 0.6)
    assert months == [{"month": date(2026, 2, 1), "n_rows": 5, "n_filled": 3, "fill_rate": 0.6}]
    assert rows("select count(*) from marts.codebook where n_rows is null and mart <> 'codebook'") == [(0,)]


def test_examples_are_restricted_to_categories_numbers_and_dates(rows: Rows) -> None:
    examples = rows("select mart, column_name, type, examples from marts.codebook where examples is not null")
    assert ("api_changes", "date_basis", "varchar", "observed, published") in examples
    categories = {
        "region_code",
        "state",
        "kind",
        "date_basis",
        "change_id",
        "precision",
        "entity",
        "unit_kind",
        "pool",
        "endpoint",
    }
    for mart, column, kind, example in examples:
        assert kind != "varchar" or column.removeprefix("video_").removeprefix("last_attempt_") in categories, (
            mart,
            column,
        )
        assert column == "change_id" or not column.endswith("_id")
        assert str(ANNA_VIDEO) not in example
    # Five videos are too few for examples.
    assert "videos" not in {mart for mart, *_ in examples}
