"""Random trials of one kind, each with its own seed, and the count of those that were survived.

A failed trial is printed with the command that repeats it, and does not end the others.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest


@dataclass
class Trials:
    """The trials of one test: `run` calls a function with a source of random numbers for each of them."""

    kind: str
    seed: int
    number: int
    only: int | None
    record: Callable[[str, object], None]
    survived: int = 0
    notes: dict[str, int] = field(default_factory=dict)

    def run(self, trial: Callable[[Random], str | None], share: float = 1.0) -> None:
        """Call `trial` for each trial; it raises if the trial is not survived, and may return what happened in it.

        `share` is the number of trials as a share of the usual one, for kinds that take long. Fails after all trials
        if any of them failed.
        """
        failures = []
        numbers = range(max(2, round(self.number * share))) if self.only is None else [self.only]
        for number in numbers:
            try:
                note = trial(Random(f"{self.seed} {self.kind} {number}"))
            except Exception:
                failures.append(f"trial {number}:\n{traceback.format_exc(limit=-6)}")
                continue
            self.survived += 1
            if note:
                self.notes[note] = self.notes.get(note, 0) + 1
        self.record("torture", (self.kind, len(numbers), self.survived, self.notes))
        if failures:
            repeat = f'make torture SEED={self.seed} ARGS="-k {self.kind} --trial N"'
            pytest.fail(
                f"{len(failures)} of {len(numbers)} trials were not survived; repeat one with: {repeat}\n"
                + "\n".join(failures),
                pytrace=False,
            )
