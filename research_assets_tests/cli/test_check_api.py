"""`check-api` says in plain words whether the API can be asked, and never asks for data."""

from collections.abc import Iterator

import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import RunningSandbox, run_in_thread

CONFIG = SandboxConfig()


@pytest.fixture(scope="module")
def sandbox() -> Iterator[RunningSandbox]:
    with run_in_thread(CONFIG) as server:
        yield server


def status(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Result:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return CliRunner().invoke(main, ["check-api"])


def test_right_credentials(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    result = status(
        monkeypatch,
        TIKTOK_API_URL=sandbox.url,
        TIKTOK_CLIENT_KEY=CONFIG.client_key,
        TIKTOK_CLIENT_SECRET=CONFIG.client_secret,
    )
    assert result.exit_code == 0, result.output
    assert "Credentials  accepted" in result.stdout
    assert "good for 120 minutes" in result.stdout
    assert not any(pool["spent"] for pool in sandbox.state["pools"].values())


def test_wrong_credentials(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    result = status(
        monkeypatch, TIKTOK_API_URL=sandbox.url, TIKTOK_CLIENT_KEY=CONFIG.client_key, TIKTOK_CLIENT_SECRET="not-the-one"
    )
    assert result.exit_code == 1
    assert "Credentials  not accepted" in result.stdout
    assert "secret is wrong" in result.stderr
    assert "not-the-one" not in result.output


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fixtures point to an address where nobody listens."""
    result = status(monkeypatch, TIKTOK_CLIENT_KEY="key", TIKTOK_CLIENT_SECRET="secret")
    assert result.exit_code == 1
    assert "Server       not reached" in result.stdout
    assert "TIKTOK_API_URL" in result.stderr


def test_no_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    result = status(monkeypatch, TIKTOK_API_URL="")
    assert result.exit_code == 1
    assert "nothing was asked" in result.stderr
