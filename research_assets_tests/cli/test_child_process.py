"""A family of processes ends with the one that started it, whatever way it is told to.

All of them hold the same pipe, so its end proves that none is left.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from research_assets.cli.child_process import run_until_stopped

# The child starts a grandchild, says so, waits for a signal, and says goodbye if it is given the time.
CHILD = """
import os, signal, subprocess, sys
deaf = sys.argv[1] == "deaf"
if deaf: signal.signal(signal.SIGINT, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=False)
print("started", flush=True)
try:
    while True: signal.pause()
except KeyboardInterrupt:
    print("goodbye", flush=True)
"""
DRIVER = """
import os, sys
from pathlib import Path
from research_assets.cli.child_process import run_until_stopped
code = run_until_stopped(
    sys.argv[1:], environment=os.environ, folder=Path.cwd(), log=Path("/dev/stdout"), ready=lambda: True,
    when_ready=lambda: print("ready", flush=True), when_stopping=lambda: None,
)
print("code", code, flush=True)
"""


def start(*command: str, ignore: bool = False) -> "subprocess.Popen[str]":
    """The driver on a command; `ignore` starts it as a shell's `&` in a script does, deaf to SIGINT."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if ignore else None
    try:
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, *command], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def lines(process: "subprocess.Popen[str]", *wanted: str) -> list[str]:
    """Read until all of `wanted` were said."""
    assert process.stdout is not None
    said: list[str] = []
    while not set(wanted) <= set(said):
        line = process.stdout.readline()
        assert line, f"ended after {said}"
        said.append(line.strip())
    return said


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ignore", [False, True])
def test_a_stop_ends_the_family_in_good_order(stop: signal.Signals, ignore: bool) -> None:
    process = start(sys.executable, "-c", CHILD, "kind", ignore=ignore)
    lines(process, "started", "ready")
    process.send_signal(stop)
    rest, _ = process.communicate(timeout=60)
    assert rest.split("\n")[:2] == ["goodbye", "code 0"]


def test_a_deaf_family_is_killed_at_the_second_stop() -> None:
    process = start(sys.executable, "-c", CHILD, "deaf")
    lines(process, "started", "ready")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert rest == "code 0\n"


def test_the_childs_failure_is_told_and_ends_its_children() -> None:
    source = CHILD.replace("try:", "sys.exit(3)\ntry:")
    rest, _ = start(sys.executable, "-c", source, "kind").communicate(timeout=60)
    assert "code 3" in rest


def test_a_failure_of_ours_leaves_nobody_behind(tmp_path: Path) -> None:
    def broken() -> bool:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run_until_stopped(
            [sys.executable, "-c", "import signal; signal.pause()"],
            environment={},
            folder=tmp_path,
            log=tmp_path / "logs" / "child.log",
            ready=broken,
            when_ready=lambda: None,
            when_stopping=lambda: None,
        )
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_the_log_is_private_and_begun_anew(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    for said in ("first", "second"):
        code = run_until_stopped(
            [sys.executable, "-c", f"print({said!r})"],
            environment={},
            folder=tmp_path,
            log=log,
            ready=lambda: False,
            when_ready=lambda: None,
            when_stopping=lambda: None,
        )
        assert code == 0
        assert log.read_text() == f"{said}\n"
    assert log.stat().st_mode & 0o777 == 0o600
