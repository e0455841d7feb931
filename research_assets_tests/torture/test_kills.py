"""Collections whose process is killed, or whose disk fails, at a random operation on the disk."""

import errno
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache
from itertools import count
from random import Random

import pytest

from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import VARIABLES, Settings
from research_assets_tests.collect.harness import days
from research_assets_tests.collect.process_harness import CollectorProcess, ServedHarness, serve_harness
from research_assets_tests.collect.test_crash import CASES, Case
from research_assets_tests.torture.jobs import Collection
from research_assets_tests.torture.oracle import assert_recovers
from research_assets_tests.torture.shim import CHANGES, KILL, KINDS, Fault
from research_assets_tests.torture.trials import Trials
from research_assets_tests.torture.zygote import Job, Zygote

pytestmark = [pytest.mark.torture, pytest.mark.timeout(7200)]

NUMBERS = count()

ERRORS: dict[str, tuple[int, bool, tuple[str, ...]]] = {
    "EIO once": (errno.EIO, False, KINDS),
    "EIO from then on": (errno.EIO, True, CHANGES),
    "ENOSPC once": (errno.ENOSPC, False, ("open", "write", "truncate", "link", "mkdir", "rename", "sync")),
    "ENOSPC from then on": (errno.ENOSPC, True, ("open", "write", "truncate", "link", "mkdir", "sync")),
    "EROFS from then on": (errno.EROFS, True, tuple(kind for kind in CHANGES if kind not in ("write", "sync"))),
}
"""Failures of a disk: the error number, whether it stays, and the operations that it affects."""


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory, zygote: Zygote) -> Iterator[Callable[[str], ServedHarness]]:
    """A function that returns the data root of a case, with the entities that it depends on, and its server."""
    with ExitStack() as stack:

        @cache
        def base(name: str) -> ServedHarness:
            case = CASES[name]
            settings = Settings.from_env(
                {
                    VARIABLES["root"].name: str(tmp_path_factory.mktemp(name) / "base"),
                    VARIABLES["api_url"].name: "http://127.0.0.1:9",
                    VARIABLES["client_key"].name: "sandbox-key",
                    VARIABLES["client_secret"].name: "sandbox-secret",
                }
            )
            small = replace(settings, page_size=case.page_size, concurrency=1)
            harness = stack.enter_context(serve_harness(small, SandboxConfig(**case.knobs)))
            for entity in case.before:
                process = CollectorProcess(harness.settings, entity, days(1), harness.clock.moment, case.spec)
                assert not zygote.run(Job(Collection(process))).error
            return harness

        yield base


def copy_of(harness: ServedHarness) -> ServedHarness:
    """Return a harness on a new data root, or with the ledger and the folders of the base."""
    return harness.copy(str(next(NUMBERS)))


def operations(zygote: Zygote, harness: ServedHarness, case: Case) -> dict[str, int]:
    """Return the number of operations of an undisturbed collection, by kind."""
    copy = copy_of(harness)
    outcome = zygote.run(Job(Collection(case.process(copy)), Fault(copy.settings.root, 10**9)))
    assert not outcome.error
    assert outcome.counts
    return outcome.counts


@contextmanager
def trial_root(base: ServedHarness) -> Iterator[ServedHarness]:
    """Yield a harness on a data root of the trial, which is removed if the trial is survived."""
    harness = copy_of(base)
    yield harness
    harness.ledger.close()
    shutil.rmtree(harness.settings.root)


def test_kill_at_disk_operation(trials: Trials, zygote: Zygote, bases: Callable[[str], ServedHarness]) -> None:
    counts = cache(lambda name: operations(zygote, bases(name), CASES[name]))

    def trial(rng: Random) -> str:
        name = rng.choice(list(CASES))
        case, killed_at = CASES[name], []
        possible = [pair for pair in counts(name).items() if pair[0] in CHANGES and pair[1]]
        with trial_root(bases(name)) as harness:
            for _ in range(rng.randint(1, 3)):
                kind, number = rng.choice(possible)
                fault = Fault(harness.settings.root, rng.randrange(number), KILL, kinds=(kind,))
                outcome = zygote.run(Job(Collection(case.process(harness)), fault))
                assert not outcome.error, outcome.error
                killed_at += [kind] * outcome.killed
            repeated = assert_recovers(harness, case, repeated=len(killed_at))
        return f"{len(killed_at)} kills, {repeated} repeated"

    trials.run(trial)


def test_disk_error(trials: Trials, zygote: Zygote, bases: Callable[[str], ServedHarness]) -> None:
    counts = cache(lambda name: operations(zygote, bases(name), CASES[name]))

    def trial(rng: Random) -> str:
        name, title = rng.choice(list(CASES)), rng.choice(list(ERRORS))
        case, (action, sticky, kinds) = CASES[name], ERRORS[title]
        if not sticky and rng.random() < 0.5:
            # The rare kinds as often as the frequent ones.
            kinds = (rng.choice([kind for kind in kinds if counts(name)[kind]]),)
        at = rng.randrange(sum(counts(name)[kind] for kind in kinds))
        with trial_root(bases(name)) as harness:
            fault = Fault(harness.settings.root, at, action, sticky, kinds)
            outcome = zygote.run(Job(Collection(case.process(harness)), fault))
            assert not outcome.killed
            assert not outcome.hung
            assert_recovers(harness, case, repeated=1)
        return outcome.error_type or "finished"

    trials.run(trial)
