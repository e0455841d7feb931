"""`check-api` reports whether the API accepts the credentials, and sends no data request."""

from collections.abc import Iterator
from typing import Any

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


def check_api(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Result:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return CliRunner().invoke(main, ["check-api"])


def test_valid_credentials_are_accepted(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    result = check_api(
        monkeypatch,
        TIKTOK_API_URL=sandbox.url,
        TIKTOK_CLIENT_KEY=CONFIG.client_key,
        TIKTOK_CLIENT_SECRET=CONFIG.client_secret,
    )
    assert result.exit_code == 0, result.output
    assert "Credentials  accepted" in result.stdout
    assert "valid for 120 minutes" in result.stdout
    assert "Clock        agrees with the API" in result.stdout
    assert not any(pool["used"] for pool in sandbox.state["pools"].values())


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"date_header": "absent"}, "not compared: no usable time from the API"),
        ({"date_header": "year_9999"}, "not compared: no usable time from the API"),
        ({"date_header": "shifted", "date_offset": -3 * 3600}, "3:00:00 ahead of the API"),
    ],
)
def test_clocks_are_compared(monkeypatch: pytest.MonkeyPatch, config: dict[str, Any], expected: str) -> None:
    with run_in_thread(SandboxConfig(**config)) as server:
        result = check_api(
            monkeypatch,
            TIKTOK_API_URL=server.url,
            TIKTOK_CLIENT_KEY=CONFIG.client_key,
            TIKTOK_CLIENT_SECRET=CONFIG.client_secret,
        )
    assert result.exit_code == 0, result.output
    assert f"Clock        {expected}" in result.stdout
    assert "valid for 120 minutes" in result.stdout


def test_wrong_credentials_are_not_accepted(sandbox: RunningSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    result = check_api(
        monkeypatch, TIKTOK_API_URL=sandbox.url, TIKTOK_CLIENT_KEY=CONFIG.client_key, TIKTOK_CLIENT_SECRET="not-the-one"
    )
    assert result.exit_code == 1
    assert "Credentials  not accepted" in result.stdout
    assert "secret is wrong" in result.stderr
    assert "not-the-one" not in result.output


def test_unreachable_server_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """No server listens at the address that the fixtures set."""
    result = check_api(monkeypatch, TIKTOK_CLIENT_KEY="key", TIKTOK_CLIENT_SECRET="secret")
    assert result.exit_code == 1
    assert "Server       not reached" in result.stdout
    assert "TIKTOK_API_URL" in result.stderr


@pytest.mark.parametrize("address", ["", "https://open.tiktokapis.com", "http://127.0.0.1:9"])
def test_missing_credentials_are_reported_without_a_request(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    result = check_api(monkeypatch, TIKTOK_API_URL=address)
    assert result.exit_code == 1
    assert "TIKTOK_CLIENT_KEY and TIKTOK_CLIENT_SECRET are not set. No request was sent" in result.stderr
