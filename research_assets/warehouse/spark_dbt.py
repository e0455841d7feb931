"""Calls of dbt in a process of their own, so that all of them share one Spark driver: `python -m` runs it.

The first line of the standard input has the calls as JSON: a list of lists of arguments. The process ends with the
first call that fails, and with the end of the input: when its parent is killed, nobody would publish what it builds.

Not here: what is called (see spark.py).
"""

import os
import sys
from threading import Thread

import orjson


def main() -> int:
    """Run the calls and return the exit code: 0 if all succeeded."""
    calls = orjson.loads(sys.stdin.buffer.readline())
    Thread(target=_end_with_parent, daemon=True).start()
    from dbt.cli.main import dbtRunner

    for arguments in calls:
        outcome = dbtRunner().invoke(arguments)
        if outcome.exception is not None:
            sys.stderr.write(f"dbt {arguments[0]}: {outcome.exception}\n")
        if not outcome.success:
            return 1
    return 0


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
