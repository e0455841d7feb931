"""Fixtures of the torture tests. They run with `--long` only: `make torture`, and a short form in `make test-long`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.register_assert_rewrite("research_assets_tests.torture.oracle")

from research_assets_tests.torture import shim  # noqa: E402
from research_assets_tests.torture.trials import Trials  # noqa: E402
from research_assets_tests.torture.zygote import Zygote, start_zygote  # noqa: E402


@pytest.fixture
def trials(request: pytest.FixtureRequest) -> Trials:
    """The trials of a test, named like it."""
    option = request.config.option
    kind = request.node.name.removeprefix("test_")
    return Trials(
        kind, option.seed, option.trials, option.trial, lambda *pair: request.node.user_properties.append(pair)
    )


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled shim. Without a compiler the tests that need it are skipped."""
    if reason := shim.missing_compiler():
        pytest.skip(reason)
    return shim.build(tmp_path_factory.mktemp("shim"))


@pytest.fixture(scope="session")
def zygote(library: Path) -> Iterator[Zygote]:
    """A process that forks children which collect."""
    with start_zygote(library, "research_assets_tests.torture.jobs") as running:
        yield running


@pytest.fixture(scope="session")
def dbt_zygote(library: Path) -> Iterator[Zygote]:
    """A process that forks children which build the marts."""
    with start_zygote(library, "research_assets_tests.torture.build_jobs") as running:
        yield running
