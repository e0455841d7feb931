"""dbt as a process of its own, which ends with the process that started it.

It is the main module of that process: the arguments are those of the command `dbt`. The parent keeps the standard input
open. When the parent is killed, the input ends, and so does this process: a build that nobody will publish would keep
the lock of the next one. Not here: its arguments and its results (see dbt_runner.py).
"""

import gc
import os
from threading import Thread


def _end_with_parent() -> None:
    """Wait for the end of the standard input, then end this process."""
    # Not through `sys.stdin`, whose lock would be held at the end of the interpreter.
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    Thread(target=_end_with_parent, daemon=True).start()
    # The process ends with its only call; dbt's objects are many and live as long as it does.
    gc.disable()
    from dbt.cli.main import cli

    cli()
