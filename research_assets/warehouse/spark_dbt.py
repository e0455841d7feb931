"""Calls of dbt in a process of their own, so that all of them share one Spark driver: `python -m` runs it.

The first line of the standard input has the calls as JSON: a list of lists of arguments. The process ends with the
first call that fails, and with the end of the input: when its parent is killed, nobody would publish what it builds.
Errors of operations, which dbt's results do not contain, are in `OPERATION_ERRORS` in the working directory.

Not here: what is called (see spark.py).
"""

import os
import sys
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import orjson

if TYPE_CHECKING:
    from dbt_common.events.base_types import EventMsg

OPERATION_ERRORS = "operation_errors.txt"


def main() -> int:
    """Run the calls and return the exit code: 0 if all succeeded."""
    calls = orjson.loads(sys.stdin.buffer.readline())
    Thread(target=_end_with_parent, daemon=True).start()
    from dbt.cli.main import dbtRunner

    for arguments in calls:
        outcome = dbtRunner(callbacks=[_keep_operation_error]).invoke(arguments)
        if outcome.exception is not None:
            sys.stderr.write(f"dbt {arguments[0]}: {outcome.exception}\n")
        if not outcome.success:
            return 1
    return 0


def _keep_operation_error(event: "EventMsg") -> None:
    if event.info.name in ("RunningOperationCaughtError", "RunningOperationUncaughtError"):
        with Path(OPERATION_ERRORS).open("a", encoding="utf-8") as file:
            file.write(f"{event.data.exc}\n")


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
