"""Listing: the same paths as `Path.glob`, and an error in place of a folder that is left out."""

import os
import re
from pathlib import Path
from typing import Any

import pytest

from research_assets.storage import listing
from research_assets.storage.listing import all_files, all_paths, matching_paths


def forbid_listing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """Let a folder be one that this process may not list; root could list any."""
    real = os.scandir

    def scandir(path: Any = ".") -> Any:
        if not isinstance(path, int) and Path(path) == folder:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    paths = "a/study=x/1.json", "a/study=x/.2.json.tmp", "a/study=y/deep/3.json", "b/study=x/4.txt", "[odd]/5.json"
    for name in paths:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "link").symlink_to(tmp_path / "a")
    return tmp_path


@pytest.mark.parametrize(
    "pattern", ["*", "*/*", "*/study=x/*", "a/study=[!x]/*/*.json", "a/study=x/1.json", "a/none", "*/1.json", "b/*/*"]
)
def test_matching_paths_are_those_of_glob(tree: Path, pattern: str) -> None:
    assert sorted(matching_paths(tree, pattern)) == sorted(tree.glob(pattern))


@pytest.mark.parametrize("name", ["*", "*.json", ".*.tmp", "[!.]*"])
def test_all_files_are_those_of_rglob(tree: Path, name: str) -> None:
    assert sorted(all_paths(tree)) == sorted(tree.rglob("*"))
    assert sorted(all_files(tree, name)) == sorted(path for path in tree.rglob(name) if path.is_file())


def test_missing_folder_has_no_paths(tmp_path: Path) -> None:
    assert [*matching_paths(tmp_path / "none", "*/*"), *all_paths(tmp_path / "none")] == []


def test_folder_that_cannot_be_listed_is_an_error(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_listing(monkeypatch, tree / "a" / "study=y")
    for paths in (matching_paths(tree, "*/study=*/*"), all_paths(tree), all_files(tree, "*.json")):
        with pytest.raises(PermissionError, match="study=y"):
            list(paths)
    assert list(matching_paths(tree, "b/study=x/*")) == [tree / "b" / "study=x" / "4.txt"]


def test_folder_of_a_file_system_check_is_left_out(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "lost+found").mkdir()
    forbid_listing(monkeypatch, tree / "lost+found")
    assert tree / "a" in all_paths(tree)


def test_no_module_lists_by_glob() -> None:
    """The simulated API and its folders are its own."""
    package = Path(listing.__file__).parents[1]
    found = [
        path.relative_to(package).as_posix()
        for path in sorted(package.rglob("*.py"))
        if re.search(r"\.r?glob\(", path.read_text())
    ]
    assert [path for path in found if not path.startswith("sandbox/")] == []
