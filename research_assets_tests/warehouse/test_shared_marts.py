"""Marts outside of the data folder: other users can read them, and can do nothing else.

Another user is a child process with another user id, which only root can start.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import research_assets as ra
from research_assets.settings import DEMO_STUDIES_DIR, Settings, prepare_root
from research_assets.warehouse.parquet_marts import BUILDS, PUBLISHED
from research_assets.warehouse.shared_marts import (
    SharedMartsError,
    remove_shared_marts,
    share_marts,
    shared_files,
)
from research_assets_tests.warehouse.compare import differences
from research_assets_tests.warehouse.conftest import BuiltWarehouse, materialize
from research_assets_tests.warehouse.raw_data import write_raw_data

STUDENT, STUDENTS = 65534, 54321
"""User id of a student (`nobody`) and group id of the students."""


def test_build_copies_all_marts_for_readers(built_warehouse: BuiltWarehouse) -> None:
    settings = built_warehouse.settings
    assert settings.shared_marts is not None
    assert differences(settings.warehouse, settings.shared_marts) == []
    with ra.open(settings.root) as own, ra.open(settings.shared_marts) as shared:
        assert shared.marts == own.marts
        assert shared.simulated == own.simulated
        assert shared.videos.__doc__ == own.videos.__doc__
    for path in (settings.shared_marts, *settings.shared_marts.rglob("*")):
        if not path.is_symlink():
            assert path.stat().st_mode & 0o777 == (0o750 if path.is_dir() else 0o640), path


@pytest.fixture
def shared(built_warehouse: BuiltWarehouse, tmp_path: Path) -> Settings:
    """Settings of the built warehouse with an empty shared folder of the test."""
    folder = tmp_path / "shared"
    folder.mkdir(mode=0o750)
    return replace(built_warehouse.settings, shared_marts=folder)


def test_previous_copy_stays_for_its_readers_unless_data_was_removed(shared: Settings) -> None:
    assert shared.shared_marts is not None
    builds = shared.shared_marts / BUILDS
    for number in (1, 2, 2):
        share_marts(shared)
        assert len(list(builds.iterdir())) == number
    share_marts(shared, keep_previous=False)
    assert [path.resolve() for path in builds.iterdir()] == [(shared.shared_marts / PUBLISHED).resolve()]
    assert remove_shared_marts(shared) > 10
    assert shared_files(shared) == []
    assert list(shared.shared_marts.iterdir()) == []


def test_folder_that_cannot_be_shared_is_refused_and_unchanged(shared: Settings, tmp_path: Path) -> None:
    assert shared.shared_marts is not None
    share_marts(shared)
    before = shared_files(shared)
    shared.shared_marts.chmod(0o2770)
    with pytest.raises(SharedMartsError, match="only the user of the builds"):
        share_marts(shared)
    with pytest.raises(SharedMartsError, match="only the user of the builds"):
        remove_shared_marts(shared)
    shared.shared_marts.chmod(0o2750)
    with pytest.raises(SharedMartsError, match="simulated and real data"):
        share_marts(replace(shared, api_url="https://open.tiktokapis.com"))
    assert shared_files(shared) == before
    for folder, reason in ((tmp_path / "none", "install -d"), (shared.state, "contain each other")):
        with pytest.raises(SharedMartsError, match=reason):
            share_marts(replace(shared, shared_marts=folder))


@pytest.mark.long
def test_build_whose_copy_fails_is_published_and_reported_as_a_failure(settings: Settings, tmp_path: Path) -> None:
    write_raw_data(settings.raw)
    result = materialize(replace(settings, shared_marts=tmp_path / "none"), raise_on_error=False)
    assert not result.success
    assert len(result.asset_materializations_for_node("warehouse")) > 20
    failures = [event.step_failure_data.error for event in result.all_events if event.is_step_failure]
    assert "cannot be shared" in str(failures[0])
    with ra.open(settings.root) as published:
        assert len(published.videos()) > 0


@dataclass(frozen=True)
class Machine:
    """A private data folder with marts, and a shared folder of the group of the students."""

    settings: Settings
    shared: Path

    def run(self, code: str, *, prepare: str = "", group: int = STUDENTS) -> "subprocess.CompletedProcess[str]":
        """Run code as the student, after `prepare` as root.

        Everything that the code needs is imported before, because the student may not be able to read the environment.
        """
        become = f"import os\nos.setgroups([]), os.setgid({group}), os.setuid({STUDENT})\n"
        return subprocess.run(
            [sys.executable, "-c", f"{prepare}\n{become}\n{code}"],
            env={"PATH": os.environ["PATH"], "HOME": "/"},
            # No file `.env` and no folder with studies.
            cwd="/",
            capture_output=True,
            text=True,
        )


@pytest.fixture
def machine(built_warehouse: BuiltWarehouse) -> Iterator[Machine]:
    if os.geteuid() != 0:
        pytest.skip("only root can start a process of another user")
    # Not in a folder of pytest, which belongs to its user alone.
    with TemporaryDirectory(prefix="research-shared-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "shared").mkdir()
        os.chown(folder / "shared", -1, STUDENTS)
        (folder / "shared").chmod(0o2750)
        settings = replace(built_warehouse.settings, root=folder / "data", shared_marts=folder / "shared")
        umask = os.umask(0o022)
        try:
            prepare_root(settings)
            shutil.copy(built_warehouse.settings.warehouse, settings.warehouse)
            share_marts(settings)
        finally:
            os.umask(umask)
        yield Machine(settings, folder / "shared")


READ = """
import research_assets as ra
with ra.open({folder!r}) as data:
    print(data.simulated, len(data.videos()), len(data.sql("SELECT * FROM videos ORDER BY video_id").fetchall()))
"""


def test_students_read_the_shared_marts_and_nothing_else(machine: Machine) -> None:
    read = READ.format(folder=str(machine.shared))
    students = machine.run(read, prepare=read)
    as_root, as_student = students.stdout.splitlines()
    assert as_root == as_student, students.stderr
    outsider = machine.run(read, prepare=read, group=STUDENT)
    assert outsider.stdout.splitlines() == [as_root]
    assert "Permission" in outsider.stderr
    for folder in (machine.settings.root, machine.settings.warehouse, machine.settings.state):
        assert "PermissionError" in machine.run(f"open({str(folder)!r})").stderr
    for path in (machine.shared, machine.shared / PUBLISHED, machine.shared / PUBLISHED / "marts"):
        assert "PermissionError" in machine.run(f"open({str(path / 'new')!r}, 'w')").stderr


COMMAND = """
from click.testing import CliRunner
from research_assets.cli import main
def call(command, folder):
    names = {{"RESEARCH_DATA": folder, "TIKTOK_API_URL": "http://127.0.0.1:9"}}
    names |= {{"RESEARCH_STUDIES": {studies!r}, "TIKTOK_CLIENT_KEY": "k", "TIKTOK_CLIENT_SECRET": "s"}}
    return CliRunner().invoke(main, [command], env=names)
import os
import research_assets.cli.collect
# A file in place of the folder stops the commands where the permissions do.
for command in {commands!r}:
    call(command, os.devnull)
"""


def test_students_cannot_use_quota(machine: Machine) -> None:
    studies = machine.shared.with_name("studies")
    shutil.copytree(DEMO_STUDIES_DIR, studies)
    commands = ("status", "collect", "export")
    code = f"for command in {commands!r}:\n    result = call(command, {str(machine.settings.root)!r})\n"
    code += "    print(command, result.exit_code, repr(result.exception), ' '.join(result.output.split()))"
    done = machine.run(code, prepare=COMMAND.format(commands=commands, studies=str(studies)))
    lines = done.stdout.splitlines()
    assert len(lines) == len(commands), done.stderr
    for command, line in zip(commands, lines, strict=True):
        assert line.startswith(f"{command} 1 SystemExit(1)"), line
        assert "Permission denied" in line
