"""Id lists from exports, spreadsheets and data donations: ids and links are read, invalid lines are reported."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.collect.id_lists.batches import batch_ids
from research_assets.collect.id_lists.reader import IdListError, ListedVideo, read_id_list
from research_assets.tiktok.ids import upload_time
from research_assets.tiktok.requests import MAX_COUNT

NOW = datetime(2026, 6, 1, tzinfo=UTC)
ID = 7503867840092128259


def listed(tmp_path: Path, text: str, **options: Any) -> list[int]:
    (tmp_path / "list.csv").write_text(text, encoding="utf-8")
    return [one.id for one in read_id_list(tmp_path / "list.csv", NOW, **options).videos]


@pytest.mark.parametrize(
    "text",
    [
        f"id\n{ID}\n",
        f"{ID}\n",
        f"study,video_id,day\ngarden,id_{ID},2025-05-13\n",
        f"\ufeffvideo_id;note\r\n{ID};x\r\n",
        f"Date,Link\n2026-01-01,https://www.tiktokv.com/share/video/{ID}/\n",
        f"when\twhat\n1\thttps://www.tiktok.com/@beet.und.balkon/video/{ID}?q=1\n",
        f"entity,id,video_id,date\nvideos,{ID},{ID},2025-05-13\ncomments,77,{ID},2025-05-13\n",
    ],
)
def test_ids_and_links_are_found_in_any_column(tmp_path: Path, text: str) -> None:
    assert listed(tmp_path, text) == [ID]


def test_duplicates_and_invalid_lines_are_reported(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(f"id,how\n{ID},liked\n{ID},watched\nabc,liked\n12,x\n{2**62},x\n")
    found = read_id_list(tmp_path / "list.csv", NOW, group="how")
    assert found.videos == (ListedVideo(ID, None, ("liked", "watched")),)
    assert found.n_duplicates == 1
    assert [where for where, _ in found.invalid] == ["line 4", "line 5", "line 6"], (
        "a word, a number without an upload time, an upload time in the future"
    )


@pytest.mark.parametrize("cell", ["7.50387E+18", "7,50387e18", "7503867840092128259.0"])
def test_ids_that_a_spreadsheet_rounded_are_refused(tmp_path: Path, cell: str) -> None:
    with pytest.raises(IdListError, match=r"Line 2 of .* a program has rounded the ids"):
        listed(tmp_path, f'id;x\n"{cell}";1\n')


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("", {}, "is empty"),
        ("name\nanna\n", {}, "Name it with --column"),
        (f"a,b\n{ID},{ID}\n", {}, "Name it with --column"),
        (f"a\n{ID}\n", {"column": "b"}, "has no column 'b'; it has a"),
        (f"id\n{ID}\n", {"group": "c"}, "has no column 'c'"),
        ("id\nanna\n", {}, "contains no video id"),
    ],
)
def test_unusable_list_raises_with_the_reason(tmp_path: Path, text: str, options: dict[str, str], message: str) -> None:
    with pytest.raises(IdListError, match=message):
        listed(tmp_path, text, **options)


def test_binary_file_raises(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(IdListError, match="is not UTF-16 text"):
        read_id_list(tmp_path / "list.csv", NOW)


LISTS = st.lists(
    st.builds(
        lambda day, low, has_day: ListedVideo(
            (1_700_000_000 + day * 40_000 << 32) | low, uploaded_day(day) if has_day else None
        ),
        st.integers(0, 900),
        st.integers(0, 2**31),
        st.booleans(),
    ),
    unique_by=lambda one: one.id,
    max_size=300,
)


def uploaded_day(day: int) -> date:
    return upload_time(1_700_000_000 + day * 40_000 << 32).date()


@given(LISTS)
def test_each_id_is_in_one_batch_whose_window_contains_its_days(ids: list[ListedVideo]) -> None:
    batches = batch_ids(ids, NOW.date())
    assert sorted(identifier for batch in batches for identifier in batch.ids) == sorted(one.id for one in ids)
    days = {one.id: one.day for one in ids}
    for batch in batches:
        assert len(batch.ids) <= MAX_COUNT
        assert (batch.last - batch.first).days < 31
        for identifier in batch.ids:
            listed_day, uploaded = days[identifier], upload_time(identifier).date()
            assert batch.first <= (listed_day or uploaded) <= batch.last
            assert listed_day or batch.last >= min(uploaded + timedelta(days=2), NOW.date())
