"""Temporary folders: each process removes the folders of ended processes and leaves those of running ones."""

from pathlib import Path

import pytest

from research_assets.storage.file_locks import LOCK_FILE
from research_assets.storage.parquet_io import temporary_folder


def test_folder_that_disappears_while_it_is_listed_raises_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    iterdir = Path.iterdir
    monkeypatch.setattr(Path, "iterdir", lambda path: iter([*iterdir(path), path / "ended"]))
    with temporary_folder(tmp_path, "mine") as folder:
        assert folder.is_dir()


def test_temporary_folder_removes_folders_of_ended_processes_only(tmp_path: Path) -> None:
    (tmp_path / ".tmp" / "stale").mkdir(parents=True)
    with temporary_folder(tmp_path, "one") as one, temporary_folder(tmp_path, "two") as two:
        assert sorted((tmp_path / ".tmp").glob("[!.]*")) == sorted([one, two])
    assert [path.name for path in (tmp_path / ".tmp").iterdir()] == [LOCK_FILE]
