"""Set-up on a machine with missing tools: one line names the missing tool, and nothing is changed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from research_assets.settings import PROJECT_DIR


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a folder with a space in its name that contains the files that set-up reads."""
    folder = tmp_path / "a checkout"
    (folder / ".ci").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "uv.lock", ".ci/setup"):
        shutil.copy(PROJECT_DIR / name, folder / name)
    return folder


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def setup(checkout: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    environ = {k: v for k, v in os.environ.items() if k != "PYTHON"} | environment
    return subprocess.run(["sh", ".ci/setup"], cwd=checkout, env=environ, capture_output=True, text=True, check=False)


def assert_rejected(result: "subprocess.CompletedProcess[str]", checkout: Path, *texts: str) -> None:
    assert result.returncode == 1
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert all(text in result.stderr for text in texts), result.stderr
    assert sorted(p.name for p in checkout.iterdir()) == [".ci", "Makefile", "pyproject.toml", "uv.lock"]


def test_setup_rejects_a_python_that_is_too_old(checkout: Path, tmp_path: Path) -> None:
    old = script(tmp_path / "bin" / "old", 'case "$2" in *version_info*) exit 1;; *) echo 3.9.2;; esac')
    assert_rejected(setup(checkout, PYTHON=str(old)), checkout, "Python 3.11, 3.12 or 3.13 is needed", "is 3.9.2")


def test_setup_reports_a_missing_python(checkout: Path, tmp_path: Path) -> None:
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("sh", "cat", "cksum", "dirname"):
        (tools / name).symlink_to(str(shutil.which(name)))
    assert_rejected(setup(checkout, PATH=str(tools)), checkout, "none was found")


def test_setup_names_the_package_that_contains_venv(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "ensurepip.py").write_text("raise ImportError")
    script(tmp_path / "bin" / "uv", "exit 127")
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    result = setup(checkout, PYTHON=sys.executable, PYTHONPATH=str(tmp_path), PATH=path)
    assert_rejected(
        result, checkout, "lacks the venv module", f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
    )


def test_second_setup_prints_and_changes_nothing(checkout: Path) -> None:
    """The stamp identifies the inputs of the environment; a changed lock file or a moved folder invalidates it."""
    (checkout / ".venv" / "bin").mkdir(parents=True)
    script(checkout / ".venv" / "bin" / "python", "exit 0")
    stamp = subprocess.run(
        'printf "%s %s" "$(cat pyproject.toml uv.lock | cksum)" "$(pwd -P)"',
        shell=True,
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (checkout / ".venv" / ".set-up").write_text(stamp)
    result = setup(checkout)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    (checkout / "uv.lock").write_text("changed")
    assert setup(checkout, PYTHON="/nowhere").returncode == 1
