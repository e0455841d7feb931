"""Benchmarks of the figures that the project promises. `make bench` runs them; the test suite does not.

Each module `bench_*.py` defines `run() -> Iterable[Row]`. A peer is measured in the same run as the code that is
compared with it.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: case, measured value, unit and bound.

    `bound` is the highest allowed value (`sense="at most"`), the lowest, or the exact one. It is None for a figure that
    is only shown, such as a peer's.
    """

    case: str
    measured: float
    unit: str
    bound: float | None = None
    note: str = ""
    sense: Literal["at most", "at least", "exactly"] = "at most"

    @property
    def kept(self) -> bool:
        """Whether the figure meets its bound. A figure that is not a number meets none."""
        if self.bound is None:
            return True
        return {
            "at most": self.measured <= self.bound,
            "at least": self.measured >= self.bound,
            "exactly": self.measured == self.bound,
        }[self.sense]
