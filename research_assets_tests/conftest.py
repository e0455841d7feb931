"""What every test stands on: its own environment and data folder, no network but loopback, a clock that stands still.

Fixtures of one room belong in that room's folder.
"""

import ipaddress
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings

from research_assets.settings import VARIABLES, Settings

# A deadline would be a timed assertion; a busy machine is no bug.
hypothesis_settings.register_profile("project", deadline=None, print_blob=True)
hypothesis_settings.load_profile("project")

UNREACHABLE_URL = "http://127.0.0.1:9"
"""An address that nobody listens at."""


class FakeClock:
    """A `Clock` that stands still: sleeping moves it on at once and is written down in `slept`, in seconds."""

    def __init__(self, start: datetime = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)) -> None:
        self.moment = start
        self.slept: list[float] = []

    def now(self) -> datetime:
        return self.moment

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds=seconds)

    def advance(self, **by: float) -> None:
        """Move on by the arguments of a `timedelta`."""
        self.moment += timedelta(**by)


@pytest.fixture(autouse=True)
def isolated_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the developer's credentials and data: what a test sets explicitly is all that it sees."""
    for variable in VARIABLES.values():
        # Empty rather than absent, so that a .env file beside the checkout does not show through.
        monkeypatch.setenv(variable.name, "")
    monkeypatch.setenv(VARIABLES["root"].name, str(tmp_path / "data"))
    monkeypatch.setenv(VARIABLES["api_url"].name, UNREACHABLE_URL)
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture(autouse=True, scope="session")
def block_network() -> None:
    """Refuse every connection of this process that would leave the machine."""

    def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
        def checked(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                host = str(address[0])
                if host != "localhost" and not ipaddress.ip_address(host).is_loopback:
                    raise AssertionError(f"A test tried to reach {host}; tests stay on loopback.")
            return connect(self, address)

        return checked

    patch = pytest.MonkeyPatch()
    for name in ("connect", "connect_ex"):
        patch.setattr(socket.socket, name, guarded(getattr(socket.socket, name)))


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still on a Monday morning."""
    return FakeClock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings for a data root of this test's own; nothing is created, nobody listens at the address."""
    return Settings.from_env(
        {
            VARIABLES["root"].name: str(tmp_path / "data"),
            VARIABLES["api_url"].name: UNREACHABLE_URL,
            VARIABLES["client_key"].name: "sandbox-key",
            VARIABLES["client_secret"].name: "sandbox-secret",
        }
    )


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """A session in which every test was skipped has shown nothing: it fails like one that found no test."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if exitstatus or reporter is None or hasattr(session.config, "workerinput") or session.config.option.collectonly:
        return
    if not any(reporter.stats.get(outcome) for outcome in ("passed", "xfailed")):
        session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
