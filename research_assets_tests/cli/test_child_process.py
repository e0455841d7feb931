"""A process group ends with the process that started it, for each kind of stop.

All processes share one pipe, so its end proves that none of them is left.
"""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from research_assets.cli.child_process import run_until_stopped

# The child starts a grandchild, prints a line, waits for a signal, and prints a line if SIGINT reaches it.
CHILD = """
import os, signal, subprocess, sys
if sys.argv[1] == "ignores": signal.signal(signal.SIGINT, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"], start_new_session=False)
try:
    # The signal may come as soon as the line is printed.
    print("started", flush=True)
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
    """Start the driver on a command. `ignore` makes it ignore SIGINT, as `&` does in a shell script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN) if ignore else None
    try:
        return subprocess.Popen(
            [sys.executable, "-c", DRIVER, *command], stdout=subprocess.PIPE, text=True, start_new_session=True
        )
    finally:
        if before is not None:
            signal.signal(signal.SIGINT, before)


def lines(process: "subprocess.Popen[str]", *expected: str) -> list[str]:
    """Read lines until all of `expected` were printed."""
    assert process.stdout is not None
    printed: list[str] = []
    while not set(expected) <= set(printed):
        line = process.stdout.readline()
        assert line, f"ended after {printed}"
        printed.append(line.strip())
    return printed


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("ignore", [False, True])
def test_stop_signal_ends_the_process_group_cleanly(stop: signal.Signals, ignore: bool) -> None:
    process = start(sys.executable, "-c", CHILD, "stops", ignore=ignore)
    lines(process, "started", "ready")
    process.send_signal(stop)
    rest, _ = process.communicate(timeout=60)
    assert rest.split("\n")[:2] == ["goodbye", "code None"]


def test_second_stop_kills_a_group_that_ignores_signals() -> None:
    process = start(sys.executable, "-c", CHILD, "ignores")
    lines(process, "started", "ready")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert rest == "code None\n"


def test_failed_child_returns_its_code_and_ends_its_children() -> None:
    source = CHILD.replace("try:", "sys.exit(3)\ntry:")
    rest, _ = start(sys.executable, "-c", source, "stops").communicate(timeout=60)
    assert "code 3" in rest


def test_failing_parent_ends_the_child(tmp_path: Path) -> None:
    def broken() -> bool:
        raise ZeroDivisionError

    # A background shell job or cron starts this test with SIGINT ignored; the handler must be restored.
    before = signal.getsignal(signal.SIGINT)
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
    assert signal.getsignal(signal.SIGINT) is before


def test_log_is_private_and_truncated(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    for text in ("first", "second"):
        code = run_until_stopped(
            [sys.executable, "-c", f"print({text!r})"],
            environment={},
            folder=tmp_path,
            log=log,
            ready=lambda: False,
            when_ready=lambda: None,
            when_stopping=lambda: None,
        )
        assert code == 0
        assert log.read_text() == f"{text}\n"
    assert log.stat().st_mode & 0o777 == 0o600
