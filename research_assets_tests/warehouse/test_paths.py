"""Paths with characters that mean something to dbt or DuckDB: each works, or is refused before the first request."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from research_assets.settings import PROJECT_DIR, SettingsError, prepare_root
from research_assets_tests.warehouse.conftest import materialize, query
from research_assets_tests.warehouse.raw_data import new_settings, write_raw_data


def assert_built_or_refused(root: Path, character: str) -> None:
    """Assert that a build reads the data of this folder alone, unless the folder is refused with a clear sentence."""
    settings = new_settings(root)
    shutil.rmtree(root)
    refusal = ""
    try:
        prepare_root(settings)
    except SettingsError as error:
        refusal = str(error)
    if refusal:
        assert all(text in refusal for text in (character, "No request was sent", "RESEARCH_DATA")), refusal
        assert not root.exists()
        return
    write_raw_data(settings.raw)
    assert materialize(settings).success
    assert query(settings, "SELECT count(*) FROM marts.videos") == [(5,)]


@pytest.mark.parametrize(
    ("name", "sibling"),
    [("a#b", "a"), ("a?b", "axb"), ("a*b", "axxb"), ("a[b]", "ab"), ("day=2026-02-01", "day"), ("pool=x", "pool")],
)
def test_data_folder_with_a_special_character_is_used_or_refused(tmp_path: Path, name: str, sibling: str) -> None:
    # DuckDB reads the files of this folder if it takes the name for a pattern.
    write_raw_data(new_settings(tmp_path / sibling / "data").raw)
    (character,) = set(name) & set("#?*[=")
    assert_built_or_refused(tmp_path / name / "data", character)


def test_data_folder_with_a_backslash_is_used_or_refused(tmp_path: Path) -> None:
    assert_built_or_refused(tmp_path / "a\\b" / "data", "\\")


def test_data_folder_with_usual_characters_is_used(tmp_path: Path) -> None:
    settings = new_settings(tmp_path / 'it\'s {{ a }} "%20" ;:$HOME, größe ~ -x' / "{% if %}" / "data")
    prepare_root(settings)
    write_raw_data(settings.raw)
    assert materialize(settings).success
    assert query(settings, "SELECT count(*) FROM marts.videos") == [(5,)]


JOB = """
import sys
from pathlib import Path
from research_assets.settings import PROJECT_DIR, SettingsError, prepare_root
from research_assets_tests.warehouse.conftest import materialize
from research_assets_tests.warehouse.raw_data import new_settings, write_raw_data
settings = new_settings(Path(sys.argv[1]))
assert str(PROJECT_DIR) == sys.argv[2], PROJECT_DIR
try:
    prepare_root(settings)
except SettingsError as error:
    sys.exit(f"refused: {error}")
write_raw_data(settings.raw)
assert materialize(settings).success
"""


def test_checkout_with_an_apostrophe_in_its_path_is_used_or_refused(tmp_path: Path) -> None:
    checkout = tmp_path / "it's here"
    for name in ("research_assets", "research_assets_tests", "dbt_project"):
        ignored = shutil.ignore_patterns("__pycache__", "target", "logs")
        shutil.copytree(PROJECT_DIR / name, checkout / name, ignore=ignored)
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(tmp_path / "data"), str(checkout)],
        env=os.environ | {"PYTHONPATH": str(checkout)},
        cwd=checkout,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        assert "refused: The folder of the dbt project" in done.stderr, done.stderr
        assert "No request was sent" in done.stderr
        assert not (tmp_path / "data" / "captures").exists()
