"""File systems without hard links, permissions and flushing of folders, as exFAT and network shares are.

The shim refuses these operations in a process of its own. Not here: full and faulty disks (see torture/).
"""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from research_assets.settings import Settings, SettingsError, prepare_root
from research_assets.storage.files import fsync_folder
from research_assets_tests.torture import shim

JOB = """
import errno, sys
from pathlib import Path
from research_assets.export.pseudonyms import load_or_create_key
from research_assets.quota.ledger import Ledger
from research_assets.settings import Settings, prepare_root
from research_assets.storage.raw_writer import write_capture
from research_assets.warehouse.reader import connect_read_only
from research_assets_tests.conftest import FakeClock
from research_assets_tests.report.report_warehouse import garden_rows, publish
from research_assets_tests.storage.capture_factory import make_answer, make_capture, make_video
from research_assets_tests.torture.shim import Fault, arm, fired

root = Path(sys.argv[1])
arm(Fault(root, 0, getattr(errno, sys.argv[2]), sticky=True, kinds=("link", "chmod")))
settings = Settings.from_env({"RESEARCH_DATA": str(root / "data"), "TIKTOK_API_URL": "http://127.0.0.1:9"})
prepare_root(settings)
ledger = Ledger(settings.ledger, settings.caps, FakeClock())
print("reserved", ledger.reserve("research", study="s", entity="videos", unit="u", endpoint="video_query"))
sealed = make_capture(settings.root, "videos", [make_answer("videos", [make_video(1)])])
print("days", len(write_capture(settings.raw, sealed).rows))
print("key", load_or_create_key(settings.export_key) == load_or_create_key(settings.export_key))
publish(settings, garden_rows())
with connect_read_only(settings.warehouse) as warehouse:
    print("videos", warehouse.execute("SELECT count(*) > 0 FROM videos").fetchall()[0][0])
print("refused", fired() is not None)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim."""
    if reason := shim.missing_compiler():
        pytest.skip(reason)
    return shim.build(tmp_path_factory.mktemp("shim"))


@pytest.mark.integration
@pytest.mark.parametrize("code", ["EPERM", "ENOTSUP"])
def test_everything_works_without_links_and_permissions(library: Path, tmp_path: Path, code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", JOB, str(tmp_path), code],
        env=os.environ | {"LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["reserved", "1", "days", "1", "key", "True", "videos", "True", "refused", "True"]


IMPORTS = """
import importlib, pkgutil, sys
sys.modules["fcntl"] = None
import research_assets
packages = ("tiktok", "storage", "quota", "study", "units", "planning", "collect", "report", "export", "cli")
for name in packages:
    package = importlib.import_module(f"research_assets.{name}")
    for module in pkgutil.iter_modules(package.__path__, f"research_assets.{name}."):
        # These two run Dagster's processes and the demo, on POSIX only.
        if module.name not in ("research_assets.cli.ui", "research_assets.cli.child_process"):
            importlib.import_module(module.name)
"""


@pytest.mark.integration
def test_no_package_below_dagster_needs_fcntl_to_be_imported() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.integration
def test_processes_that_start_together_use_one_key(tmp_path: Path) -> None:
    job = (
        "import sys; from pathlib import Path; from research_assets.export.pseudonyms import load_or_create_key; "
        "sys.stdout.write(load_or_create_key(Path(sys.argv[1])).hex())"
    )
    path = tmp_path / "keys" / "project.key"
    path.parent.mkdir()
    # The file of a process that was killed before it wrote the key.
    path.touch(mode=0o600)
    command = [sys.executable, "-c", job, str(path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    keys = {process.communicate()[0] for process in processes}
    assert keys == {path.read_text().strip()}
    assert len(path.read_text().strip()) == 64
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_data_folder_that_others_can_read_for_good_is_refused(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.root.mkdir(parents=True, mode=0o755)

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(Path, "chmod", refuse)
    with pytest.raises(SettingsError, match=r"can be read by other users.*umask=077"):
        prepare_root(settings)


def test_folder_that_cannot_be_flushed_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    fsync_folder(tmp_path)

    def fail(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        fsync_folder(tmp_path)
