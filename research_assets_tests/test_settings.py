"""Settings: defaults, invalid values, child processes and the data folder."""

import os
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.settings import (
    PROJECT_DIR,
    VARIABLES,
    Settings,
    SettingsError,
    child_environment,
    prepare_root,
    stored_origin,
)


def test_empty_environment_sets_the_real_api_and_the_default_folder() -> None:
    settings = Settings.from_env({})
    assert settings.root == PROJECT_DIR / "data"
    assert settings.origin == settings.api_url == "https://open.tiktokapis.com"
    assert settings.caps == {"research": 1000, "follow": 20000}


@pytest.mark.parametrize("url", ["http://127.0.0.1:8080", "http://localhost", "http://127.1.2.3/", "http://[::1]:80"])
def test_simulated_data_has_its_own_default_folder(url: str, tmp_path: Path) -> None:
    settings = Settings.from_env({}, over={"TIKTOK_API_URL": url})
    assert settings.origin == "sandbox"
    assert settings.root == PROJECT_DIR / "data" / "sandbox"
    assert Settings.from_env({"TIKTOK_API_URL": url, "RESEARCH_DATA": str(tmp_path)}).root == tmp_path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("RESEARCH_QUOTA", "many"),
        ("RESEARCH_QUOTA", "0"),
        ("RESEARCH_QUOTA_RESERVE", "-1"),
        ("RESEARCH_RATE_LIMIT", "nan"),
        ("RESEARCH_RATE_LIMIT", "inf"),
        ("RESEARCH_PAGE_SIZE", "101"),
        ("RESEARCH_WINDOW_DAYS", "32"),
        ("TIKTOK_API_URL", "open.tiktokapis.com"),
        ("RESEARCH_QUOTA", "1,000"),
        ("RESEARCH_QUOTA", "1e3"),
        ("RESEARCH_QUOTA", "9" * 30),
        ("RESEARCH_CONCURRENCY", "9" * 5000),
        ("RESEARCH_TIMEOUT", "1e300"),
        ("RESEARCH_TIMEOUT", "1e-300"),
        ("RESEARCH_TIMEOUT", "300s"),
        ("RESEARCH_MAX_CLOCK_OFFSET", "nan"),
        ("RESEARCH_WAREHOUSE_MEMORY", "101%"),
        ("RESEARCH_WAREHOUSE_MEMORY", "1KB"),
        ("RESEARCH_WAREHOUSE_MEMORY", "99MB"),
        ("RESEARCH_WAREHOUSE_MEMORY", "9999TB"),
        ("RESEARCH_WAREHOUSE_MEMORY", "8"),
    ],
)
def test_settings_reject_an_invalid_value_by_name(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}='?{text}"):
        Settings.from_env({name: text})


BAD_ADDRESSES = (
    "https://",
    "https:///path",
    "https://[",
    "https://[::1",
    "https://[hostile]/",
    "https://chat.example:port/s3cret",
    "https://chat.example:99999/s3cret",
    "https://chat.example:0/s3cret",
    "https://chat example/s3cret",
    "https://chat.example/s3cret\r\nX: y",
    "https://chat.example/\x1b[31ms3cret",
    "https://chat.example/\ud800",
    "https://-/",
    "https://%zz/s3cret",
    "https://ch\u00e4t.example/s3cret",
    "ftp://chat.example/s3cret",
    "chat.example/s3cret",
)


@pytest.mark.parametrize("address", BAD_ADDRESSES)
@pytest.mark.parametrize("name", ["RESEARCH_ALERT_WEBHOOK", "RESEARCH_REPORTS_URL", "TIKTOK_API_URL"])
def test_settings_reject_an_address_that_cannot_be_parsed(name: str, address: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}.* cannot be used: must ") as raised:
        Settings.from_env({name: address})
    assert ("s3cret" in str(raised.value)) == ("s3cret" in address and name != "RESEARCH_ALERT_WEBHOOK")


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=40))
def test_address_that_is_accepted_can_be_parsed(text: str) -> None:
    try:
        address = Settings.from_env({"RESEARCH_ALERT_WEBHOOK": f"https://{text}"}).alert_webhook
    except SettingsError:
        return
    assert httpx.URL(address).host


@pytest.mark.parametrize(
    "address",
    ["https://hooks.chat.example/T0/B0/x_y-z", "http://[::1]:8080/a?b=c%20d", "http://localhost", "https://a.b./"],
)
def test_settings_accept_an_address(address: str) -> None:
    assert Settings.from_env({"RESEARCH_ALERT_WEBHOOK": address}).alert_webhook == address.rstrip("/")


def test_folder_of_an_unknown_user_is_an_error_with_the_variable() -> None:
    with pytest.raises(SettingsError, match="RESEARCH_DATA='~nobody-has-this-name/x' cannot be used"):
        Settings.from_env({"RESEARCH_DATA": "~nobody-has-this-name/x"})


@pytest.mark.parametrize("name", ["RESEARCH_DATA", "RESEARCH_STUDIES", "RESEARCH_PSEUDONYM_KEY_FILE"])
@pytest.mark.parametrize("path", ["/tmp/a\nb", "/tmp/\x1b[31m", "/tmp/a\0", "/tmp/gr\udcf6sse", "x" * 300, "/a" * 2000])
def test_path_that_no_system_can_use_is_an_error_with_the_variable(name: str, path: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name}=.* cannot be used: must "):
        Settings.from_env({name: path})


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("$HOME/data", "written out"),
        ("${HOME}/data", "written out"),
        ("%USERPROFILE%/data", "written out"),
        ('"/srv/data"', "without quotes"),
        ("'/srv/data'", "without quotes"),
        ("file:///srv/data", "not an address"),
        ("s3://bucket/data", "not an address"),
        ("C:\\data", "WSL"),
        ("c:/data", "WSL"),
        ("\\\\server\\share", "WSL"),
    ],
)
@pytest.mark.parametrize("name", ["RESEARCH_DATA", "RESEARCH_STUDIES", "RESEARCH_PSEUDONYM_KEY_FILE"])
def test_text_that_is_no_path_of_this_system_is_no_relative_path(name: str, path: str, text: str) -> None:
    if name == "RESEARCH_STUDIES" and path.lower().startswith("c:"):
        pytest.skip("two folders, separated like PATH")
    with pytest.raises(SettingsError, match=f"^{name}=.* cannot be used: must .*{text}"):
        Settings.from_env({name: path})


@pytest.mark.parametrize("text", ["a b", "a\nb", '"a"', "\u201ca\u201d", "a\u200b", "\ufeffa", "a\u00a0b"])
@pytest.mark.parametrize("name", ["TIKTOK_CLIENT_KEY", "TIKTOK_CLIENT_SECRET", "RESEARCH_PSEUDONYM_KEY"])
def test_credential_with_a_character_of_no_credential_is_an_error_that_does_not_show_it(name: str, text: str) -> None:
    with pytest.raises(SettingsError, match=f"^{name} cannot be used: must contain no blank") as caught:
        Settings.from_env({name: f"s3cret{text}"})
    assert "s3cret" not in str(caught.value)


def test_relative_paths_of_the_environment_count_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {"RESEARCH_DATA": "a/../b", "RESEARCH_STUDIES": "c:~/d", "RESEARCH_PSEUDONYM_KEY_FILE": "e"}
    settings = Settings.from_env(names)
    monkeypatch.chdir("/")
    assert settings.root == tmp_path / "b"
    assert settings.studies == (tmp_path / "c", Path.home() / "d")
    assert settings.export_key == tmp_path / "e"
    # A child process may have another current folder.
    child = Settings.from_env(child_environment(settings))
    assert child == replace(settings, instance_home=settings.dagster_home)


def test_child_process_gets_the_same_settings(tmp_path: Path) -> None:
    environ = {
        "RESEARCH_DATA": str(tmp_path / "a b"),
        "RESEARCH_STUDIES": os.pathsep.join([str(tmp_path / "x"), str(tmp_path / "y")]),
        "TIKTOK_CLIENT_KEY": "key",
        "TIKTOK_CLIENT_SECRET": "secret",
        "TIKTOK_API_URL": "http://127.0.0.1:8080",
        "RESEARCH_RATE_LIMIT": "2.5",
    }
    settings = Settings.from_env(environ)
    environment = child_environment(settings)
    assert Settings.from_env(environment) == replace(settings, instance_home=settings.dagster_home)
    assert environment["PATH"] == os.environ["PATH"]
    assert {variable.name for variable in VARIABLES.values()} <= set(environment)


def test_repr_contains_no_secrets() -> None:
    settings = Settings.from_env({"TIKTOK_CLIENT_KEY": "my-key", "TIKTOK_CLIENT_SECRET": "my-secret"})
    assert "my-" not in repr(settings)


def test_folders_are_readable_by_their_owner_only(settings: Settings) -> None:
    prepare_root(settings)
    prepare_root(settings)
    assert {p.stat().st_mode & 0o777 for p in (settings.root, settings.captures, settings.state)} == {0o700}


def test_data_folder_whose_creation_was_killed_can_be_used(settings: Settings) -> None:
    settings.state.mkdir(parents=True)
    (settings.state / "origin").touch()
    prepare_root(settings)
    prepare_root(settings)
    assert (settings.state / "origin").read_text() == "sandbox"


def test_data_folder_rejects_data_of_another_origin(settings: Settings) -> None:
    prepare_root(settings)
    real = Settings.from_env({"RESEARCH_DATA": str(settings.root)})
    with pytest.raises(SettingsError, match="must not mix"):
        prepare_root(real)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="needs a folder in which no user can write")
@pytest.mark.parametrize("name", ["raw", "captures"])
def test_part_of_the_data_folder_that_cannot_be_written_to_is_an_error(tmp_path: Path, name: str) -> None:
    settings = Settings.from_env({"RESEARCH_DATA": str(tmp_path)})
    (tmp_path / name).symlink_to("/proc")
    with pytest.raises(SettingsError, match=rf"cannot be written to, in {tmp_path / name}: "):
        prepare_root(settings)


@pytest.mark.parametrize("content", [b"sandbo", b"https:/", b"\x00\xff", b"open.tiktokapis.com", None])
def test_damaged_origin_is_an_error(settings: Settings, content: bytes | None) -> None:
    mark = settings.state / "origin"
    mark.parent.mkdir(parents=True)
    if content is None:
        mark.mkdir()
    else:
        mark.write_bytes(content)
    with pytest.raises(SettingsError, match="which says where the data is from, is damaged"):
        stored_origin(settings)
    with pytest.raises(SettingsError):
        prepare_root(settings)


def test_data_folder_that_cannot_be_created_raises_settings_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SettingsError, match="cannot be written to"):
        prepare_root(Settings.from_env({"RESEARCH_DATA": str(tmp_path / "file" / "data")}))


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://lab/quota",
        "postgresql://ada:s3cret@db.example.org:5432/quota?sslmode=require",
        "postgresql://ada@[::1]:5432/quota",
    ],
)
def test_address_of_a_database_is_read(address: str) -> None:
    settings = Settings.from_env({"RESEARCH_LEDGER": address})
    assert settings.ledger_url == address
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    "address",
    [
        "mysql://ada:s3cret@lab/quota",
        "postgresql://ada:s3cret@lab",
        "postgresql://lab:s3cret/quota",
        "postgresql://ada:s3c#ret@lab/quota",
    ],
)
def test_error_about_a_database_does_not_show_its_address(address: str) -> None:
    with pytest.raises(SettingsError, match="RESEARCH_LEDGER cannot be used: must be empty, or the address") as error:
        Settings.from_env({"RESEARCH_LEDGER": address})
    assert "s3c" not in str(error.value)


def test_error_about_a_webhook_does_not_show_its_address() -> None:
    with pytest.raises(SettingsError, match=r"RESEARCH_ALERT_WEBHOOK cannot be used") as caught:
        Settings.from_env({VARIABLES["alert_webhook"].name: "htps://chat.example/s3cret"})
    assert "s3cret" not in str(caught.value)
