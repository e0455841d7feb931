"""What the project promises in figures, measured. `make bench` runs it; the test suite does not, for time is no test.

Each module `bench_*.py` here offers `run() -> Iterable[Row]`. Peers are measured in the same run as what they are
compared with.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Row:
    """One figure: what was measured, in which unit, and the bound that it must keep.

    `bound` is the most that is allowed (`sense="at most"`), the least, or the exact value; None for a figure that is
    only shown, such as a peer's.
    """

    case: str
    measured: float
    unit: str
    bound: float | None = None
    note: str = ""
    sense: Literal["at most", "at least", "exactly"] = "at most"

    @property
    def kept(self) -> bool:
        """Whether the figure keeps its bound. A figure that is not a number keeps none."""
        if self.bound is None:
            return True
        return {
            "at most": self.measured <= self.bound,
            "at least": self.measured >= self.bound,
            "exactly": self.measured == self.bound,
        }[self.sense]
