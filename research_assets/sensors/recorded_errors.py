"""Errors as Dagster records them in its events and ticks.

Not here: alerts (see run_failures.py and sensor_failures.py).
"""

from collections.abc import Iterator
from typing import Any


def causes(error: Any) -> Iterator[Any]:
    """Yield a recorded error and its causes, the first one last; nothing for None. Dagster publishes no class of it."""
    while error is not None:
        yield error
        error = error.cause


def root_message(error: Any) -> str | None:
    """Return the message of the error at the root; None without an error."""
    return next((str(one.message).strip() for one in reversed([*causes(error)])), None)
