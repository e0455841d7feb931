"""The choice between the real API and the sandbox by credentials and address."""

from pathlib import Path

import pytest

from research_assets.cli.environment import data_settings, uses_sandbox
from research_assets.settings import PROJECT_DIR, Settings, SettingsError

CREDENTIALS = {"TIKTOK_CLIENT_KEY": "key", "TIKTOK_CLIENT_SECRET": "secret"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, True),
        (CREDENTIALS, False),
        ({"TIKTOK_API_URL": "http://127.0.0.1:8080"}, False),
        ({"TIKTOK_API_URL": "http://127.0.0.1:8080"} | CREDENTIALS, False),
    ],
)
def test_sandbox_is_used_without_credentials_and_address(environ: dict[str, str], expected: bool) -> None:
    assert uses_sandbox(Settings.from_env(environ)) is expected


@pytest.mark.parametrize("name", CREDENTIALS)
def test_incomplete_credentials_are_an_error(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is set but"):
        uses_sandbox(Settings.from_env({name: CREDENTIALS[name]}))


def test_data_settings_without_credentials_use_the_sandbox_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TIKTOK_API_URL", "")
    monkeypatch.setenv("RESEARCH_DATA", "")
    assert data_settings().root == PROJECT_DIR / "data" / "sandbox"
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    assert data_settings().root == tmp_path
    assert data_settings().origin == "sandbox"


def test_data_settings_with_credentials_use_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (CREDENTIALS | {"TIKTOK_API_URL": "", "RESEARCH_DATA": ""}).items():
        monkeypatch.setenv(name, value)
    assert data_settings().root == PROJECT_DIR / "data"
