"""A process of the tests is the same with and without the server; the tests of this module pass in both ways."""

import json
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from research_assets.report import drawing_process
from research_assets.report.elements import ReportFigure
from research_assets.settings import PROJECT_DIR
from research_assets_tests.preloaded import preloaded_processes, start_as_users_do

DRAWING = [sys.executable, "-P", "-m", drawing_process.__name__]


def start(program: Sequence[str], **options: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def call(draw: "partial[Any]") -> bytes:
    """Return the task of a process that draws one figure; `draw` may be any function."""
    return pickle.dumps((60, [(ReportFigure("one", draw, "A chart", "A caption."), False)]))


def describe(path: Path, file: int) -> None:
    os.write(file, b"written")
    path.write_text(json.dumps([str(Path.cwd()), os.environ["MARK"], os.umask(0), sys.argv[1:], sys.path[0], __name__]))


def note_and_wait(path: Path) -> None:
    path.write_text(str(os.getpid()))
    signal.pause()


def let_wait(process: "subprocess.Popen[bytes]", folder: Path) -> str:
    """Let a process wait in its task, and return the id of the one that runs it."""
    noted = folder / "noted"
    assert process.stdin is not None
    process.stdin.write(call(partial(note_and_wait, noted)))
    process.stdin.close()
    while not (noted.exists() and noted.read_text()):
        assert process.poll() is None
        Event().wait(0.02)
    return noted.read_text()


def test_process_has_the_folder_the_environment_and_the_files_of_its_caller(tmp_path: Path) -> None:
    noted, (read, write) = tmp_path / "noted", os.pipe()
    environment = os.environ | {"MARK": "ü\udcff", "PYTHONPATH": os.pathsep.join([str(PROJECT_DIR), *sys.path])}
    with start([*DRAWING, "word"], cwd=tmp_path, env=environment, pass_fds=[write], umask=0o027) as process:
        output, _ = process.communicate(call(partial(describe, noted, write)))
    os.close(write)
    assert (os.read(read, 100), process.returncode) == (b"written", 0)
    os.close(read)
    assert json.loads(noted.read_text()) == [
        str(tmp_path), "ü\udcff", 0o027, ["word"], str(PROJECT_DIR), __name__,
    ]  # fmt: skip
    assert json.loads(output)["problem"] == "the chart cannot be built (AttributeError)"


def test_process_ends_with_the_one_that_is_killed(tmp_path: Path) -> None:
    with start(DRAWING) as process:
        pid = let_wait(process, tmp_path)
        process.kill()
    while Path(f"/proc/{pid}").exists():
        Event().wait(0.02)


def test_process_ends_with_the_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start_as_users_do(monkeypatch)
    with ExitStack() as caller:
        with preloaded_processes():
            process = caller.enter_context(start(DRAWING))
            pid = let_wait(process, tmp_path)
        assert pid != str(process.pid)
        assert process.wait() == -signal.SIGKILL
    assert not Path(f"/proc/{pid}").exists()


def test_worker_hands_the_server_on_to_what_gets_its_module_path() -> None:
    served = {one for one in os.environ.get("PYTHONPATH", "").split(os.pathsep) if "research-preloaded-" in one}
    assert served <= set(sys.path)
