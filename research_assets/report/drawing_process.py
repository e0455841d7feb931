"""Drawing of a report's charts in another process, which may fail without harm to this one.

The chart library is native code: some data end the whole process that draws them, and other data could take hours or
gigabytes. One child process draws all charts of a report, within the limits below and without the environment of this
process, which holds credentials. A chart that ends the child has no picture, and another child draws the rest.
Not here: the charts (see charts.py), their conversion to SVG and PNG (see drawing.py).
"""

import base64
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass

from research_assets.report import drawing
from research_assets.report.elements import ReportFigure

MAX_CPU_SECONDS = 60
"""Maximum processor time of a child, in seconds. Drawing a report takes three."""

MAX_SECONDS = 600
"""Maximum time for the charts of a report, in seconds: much more than the processor time, for busy machines."""

MAX_MEMORY = 2 * 1024**3
"""Maximum memory of a child for its data, in bytes. Drawing a report takes a tenth of it."""

MAX_PICTURE_BYTES = 10_000_000
"""Maximum size of a picture. A chart of 184 days has 200 KB."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawn chart as SVG, and as PNG if the caller wants it. Without a picture, `problem` names the cause."""

    svg: str = ""
    png: bytes = b""
    problem: str = ""


def draw_figures(figures: Sequence[ReportFigure], png: Collection[str] = ()) -> dict[str, Picture]:
    """Return the picture of each figure by name; those named in `png` also as PNG. Never raises for a chart."""
    pictures: dict[str, Picture] = {}
    deadline = time.monotonic() + MAX_SECONDS
    while remaining := [figure for figure in figures if figure.name not in pictures]:
        drawn, problem = _draw_in_child(remaining, png, deadline - time.monotonic())
        pictures |= drawn
        if len(drawn) < len(remaining):
            # The child draws in order, so it ended at the first figure that it did not answer.
            failed = next(figure.name for figure in remaining if figure.name not in drawn)
            pictures[failed] = Picture(problem=problem)
    return pictures


def _draw_in_child(
    figures: Sequence[ReportFigure], png: Collection[str], seconds: float
) -> tuple[dict[str, Picture], str]:
    """Return the pictures that one child drew, and why it ended before it drew all."""
    if seconds <= 0:
        return {}, f"the charts took more than {MAX_SECONDS} seconds"
    task = pickle.dumps((MAX_CPU_SECONDS, [(figure, figure.name in png) for figure in figures]))
    try:
        # `-P`: the current folder, which may be anybody's, provides no modules.
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", __name__],
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        return {}, f"no process could be started ({error.strerror})"
    problem = ""
    with child:
        try:
            output, _ = child.communicate(task, timeout=seconds)
        except subprocess.TimeoutExpired:
            problem = f"the charts took more than {MAX_SECONDS} seconds"
            child.kill()
            output, _ = child.communicate()
        except BaseException:
            child.kill()
            raise
    if child.returncode and not problem:
        problem = f"the chart library ended with {_exit_text(child.returncode)}"
    pictures = {}
    for line in output.splitlines():
        # A child that was killed may have cut off its last line.
        with suppress(ValueError):
            answer = json.loads(line)
            pictures[answer["name"]] = Picture(answer["svg"], base64.b64decode(answer["png"]), answer["problem"])
    return pictures, problem or "the process that draws charts gave no answer"


def _exit_text(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return signal.strsignal(-code) or f"signal {-code}"


def _set_limits(cpu_seconds: int) -> None:
    """Limit this process. A system without one of the limits has only the time limit of the parent."""
    try:
        import resource
    except ImportError:
        return
    for limit, soft, hard in (
        # At the soft limit the system sends SIGXCPU, which names the cause, and at the hard limit SIGKILL.
        (resource.RLIMIT_CPU, cpu_seconds, cpu_seconds + 5),
        (resource.RLIMIT_DATA, MAX_MEMORY, MAX_MEMORY),
        # A memory dump would store rows of the data outside the data folder.
        (resource.RLIMIT_CORE, 0, 0),
    ):
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (soft, hard))


def _picture(figure: ReportFigure, as_png: bool) -> Picture:
    try:
        svg = drawing.to_svg(figure.draw(), figure.name, figure.alternative_text)
        if len(svg) > MAX_PICTURE_BYTES:
            return Picture(problem=f"the picture is larger than {MAX_PICTURE_BYTES:,} bytes")
        return Picture(svg, drawing.to_png(svg) if as_png else b"")
    except Exception as error:
        # The message could quote data.
        return Picture(problem=f"the chart cannot be built ({type(error).__name__})")


def _main() -> None:
    """Draw the pickled figures of standard input, and write a line of JSON for each to standard output."""
    cpu_seconds, figures = pickle.load(sys.stdin.buffer)
    _set_limits(cpu_seconds)
    # The chart library writes its own messages; they must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for figure, as_png in figures:
        picture = _picture(figure, as_png)
        answer = {"name": figure.name, "svg": picture.svg, "problem": picture.problem}
        answers.write(json.dumps(answer | {"png": base64.b64encode(picture.png).decode()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    _main()
