"""Calls of dbt in a process of their own, so that all of them share one Spark driver: `python -m` runs it.

The calls are read from the standard input as JSON: a list of lists of arguments. The process ends with the first call
that fails. Not here: what is called (see spark.py).
"""

import sys

import orjson


def main() -> int:
    """Run the calls and return the exit code: 0 if all succeeded."""
    from dbt.cli.main import dbtRunner

    for arguments in orjson.loads(sys.stdin.buffer.read()):
        outcome = dbtRunner().invoke(arguments)
        if outcome.exception is not None:
            sys.stderr.write(f"dbt {arguments[0]}: {outcome.exception}\n")
        if not outcome.success:
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
