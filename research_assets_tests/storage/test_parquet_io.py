"""Folders for what is under construction: each process clears away what dead ones left, and trips over nobody."""

from pathlib import Path

import pytest

from research_assets.storage.parquet_io import temporary_folder


def test_a_folder_whose_owner_ends_while_it_is_looked_at_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda folder: iter([*listed(folder), folder / "ended"]))
    with temporary_folder(tmp_path, "mine") as shop:
        assert shop.is_dir()


def test_what_a_dead_process_left_is_cleared_and_what_a_living_one_has_is_not(tmp_path: Path) -> None:
    (tmp_path / ".tmp" / "left").mkdir(parents=True)
    with temporary_folder(tmp_path, "one") as one, temporary_folder(tmp_path, "two") as two:
        assert sorted((tmp_path / ".tmp").iterdir()) == sorted([one, two])
    assert list((tmp_path / ".tmp").iterdir()) == []
