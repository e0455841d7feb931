"""The clocks move while a collection runs: that of the machine to any date, that of the server over midnight."""

import os
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

import pytest

from research_assets_tests.collect.process_harness import ServedHarness
from research_assets_tests.collect.test_crash import CASES
from research_assets_tests.torture.jobs import Collection
from research_assets_tests.torture.oracle import assert_recovers
from research_assets_tests.torture.test_kills import bases, trial_root
from research_assets_tests.torture.trials import Trials
from research_assets_tests.torture.zygote import Job, Zygote

__all__ = ["bases"]

pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]

MOMENTS = {
    "midnight": datetime(2027, 3, 10, 23, 59, 59, 900_000, tzinfo=UTC),
    "year end": datetime(2026, 12, 31, 23, 59, 59, 900_000, tzinfo=UTC),
    "leap day": datetime(2028, 2, 28, 23, 59, 59, 900_000, tzinfo=UTC),
    "after leap day": datetime(2028, 2, 29, 23, 59, 59, 900_000, tzinfo=UTC),
    "summer time": datetime(2027, 3, 28, 0, 59, 59, 900_000, tzinfo=UTC),
    "1970": datetime(1970, 1, 2, tzinfo=UTC),
    "2099": datetime(2099, 12, 31, 23, 59, 59, tzinfo=UTC),
}
SHIFTS = [timedelta(seconds=number) for number in (-90_000, -3600, -61, -3, 3, 61, 3600, 90_000, 3 * 86_400)]
TIMEZONES = (None, "UTC", "Europe/Berlin", "America/St_Johns", "Pacific/Kiritimati", "Asia/Kathmandu")


def difference(moment: datetime) -> int:
    """Return the nanoseconds by which the clock of the machine is before a moment."""
    return round((moment.timestamp() - time.time()) * 1e9)


class LocalClock:
    """The difference of a child's clock from the machine's, in a file that the child maps."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(bytes(8))

    def show(self, moment: datetime) -> None:
        """Move the clock to a moment."""
        self._set(difference(moment))

    def shift(self, by: timedelta) -> None:
        """Move the clock by a difference."""
        (before,) = struct.unpack("q", self.path.read_bytes())
        self._set(before + round(by.total_seconds() * 1e9))

    def _set(self, nanoseconds: int) -> None:
        # In place, because the child has the file mapped.
        handle = os.open(self.path, os.O_WRONLY)
        os.pwrite(handle, struct.pack("q", nanoseconds), 0)
        os.close(handle)


def test_moved_clock(trials: Trials, zygote: Zygote, bases: Callable[[str], ServedHarness], tmp_path: Path) -> None:
    def trial(rng: Random) -> str:
        case = CASES["videos"]
        clock, names = LocalClock(tmp_path / "clock"), []
        with trial_root(bases("videos")) as harness:
            harness.settings = replace(harness.settings, rate_limit=1000)
            log = harness.app.request_log
            add, moment = log.add, harness.clock.moment

            def move() -> None:
                if rng.random() < 0.5:
                    names.append(rng.choice(list(MOMENTS)))
                    clock.show(MOMENTS[names[-1]])
                else:
                    names.append("shift")
                    clock.shift(rng.choice(SHIFTS))

            def pass_midnight() -> None:
                harness.clock.moment = datetime(2026, 6, 2, 0, 0, 1, tzinfo=UTC)

            if rng.random() < 0.7:
                clock.show(MOMENTS[rng.choice(list(MOMENTS))])
            for number in rng.sample(range(1, case.pages + 1), rng.randint(1, 2)):
                harness.at_request(number, move)
            before_request = {
                rng.randint(1, case.pages): struct.pack("q", difference(rng.choice(list(MOMENTS.values()))))
                for _ in range(rng.randint(0, 2))
            }
            if rng.random() < 0.5:
                harness.clock.moment = datetime(2026, 6, 1, 23, 59, 58, tzinfo=UTC)
                harness.at_request(rng.randint(1, case.pages), pass_midnight)
                names.append("server midnight")
            try:
                process = case.process(harness)
                collection = Collection(process, True, clock.path, before_request)
                outcome = zygote.run(Job(collection, None, clock.path, rng.choice(TIMEZONES), patience=40))
                assert not outcome.error, outcome.error
                # A `Date` header counts whole seconds: the side of midnight of a request next to it is not known.
                late = case.pages if "server midnight" in names else 0
                assert_recovers(harness, case, repeated=0, late=late)
            finally:
                log.add, harness.clock.moment = add, moment  # type: ignore[method-assign]
        return "server midnight" if "server midnight" in names else "local"

    trials.run(trial)
