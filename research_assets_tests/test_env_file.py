"""The file `.env`: encodings, empty and doubled lines, unknown names, relative paths."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.settings import ENV_FILE, VARIABLES, Settings, SettingsError

KEY = "TIKTOK_CLIENT_KEY"


@pytest.fixture
def env_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `.env` file in a folder of its own, without variables in the environment."""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable.name, raising=False)
    file = tmp_path / "lab" / ".env"
    file.parent.mkdir()
    monkeypatch.setenv(ENV_FILE, str(file))
    monkeypatch.chdir(tmp_path)
    return file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_file_is_read_in_every_encoding(env_file: Path, encoding: str) -> None:
    env_file.write_text(f"{KEY}=abc\nTIKTOK_CLIENT_SECRET=def\r\nRESEARCH_DATA=größe\n", encoding=encoding)
    settings = Settings.from_env()
    assert (settings.client_key, settings.client_secret) == ("abc", "def")
    assert settings.root == env_file.parent / "größe"
    assert settings.unknown == ()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"# x\nRESEARCH_DATA=gr\xf6\xdfe\n", "is not UTF-8 text (line 2)"),
        (b"\xff\xfea", "UTF-16"),
        (b"# x\n\nTIKTOK_CLIENT_KEY: s3cret\n", "Line 3"),
        (b"TIKTOK_CLIENT_KEY s3cret\n", "Line 1"),
        (b"\nTIKTOK_CLIENT_KEY\n", "Line 2"),
        (b'TIKTOK_CLIENT_SECRET="s3cret\n', "Line 1"),
        (b"export tiktok_client_key: s3cret\n", "Line 1"),
        (b"TIKTOK_CLIENT_KEY=s3cret\nA=1\nTIKTOK_CLIENT_KEY=s3cret2\n", "in line 1 and line 3"),
        ("TIKTOK_CLIENT_KEY=“s3cret”\n".encode(), "quote"),
        ("TIKTOK_CLIENT_KEY='s3cret\u200b'\n".encode(), "invisible"),
        (b"RESEARCH_DATA=\0\n", "NUL"),
    ],
)
def test_file_that_has_no_clear_meaning_is_an_error_that_shows_no_value(
    env_file: Path, content: bytes, text: str
) -> None:
    env_file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        Settings.from_env()
    assert text in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_file_that_cannot_be_read_or_does_not_exist_is_an_error(env_file: Path) -> None:
    with pytest.raises(SettingsError, match=r"RESEARCH_ENV_FILE=.* does not exist"):
        Settings.from_env()
    env_file.mkdir()
    with pytest.raises(SettingsError, match="cannot be read: Is a directory"):
        Settings.from_env()


def test_file_with_a_hidden_suffix_is_named(env_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(ENV_FILE)
    monkeypatch.setattr("research_assets.settings.home_folder", lambda: env_file.parent)
    assert Settings.from_env().client_key == ""
    (env_file.parent / ".env.txt").write_text(f"{KEY}=abc\n")
    with pytest.raises(SettingsError, match=r"\.env\.txt is not read.* Rename it to \.env\."):
        Settings.from_env()
    assert not (tmp_path / "data").exists()


def test_lines_of_other_programs_are_ignored(env_file: Path) -> None:
    env_file.write_text("if true; then\nDATABASE_URL: x\nNAME\nNAME=1\nNAME=2\nHTTP_PROXY=x\n")
    assert Settings.from_env().unknown == ()


def test_empty_variable_hides_no_value(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The empty lines of .env.example below the own ones.
    env_file.write_text(f"{KEY}=abc\nRESEARCH_QUOTA=5\n\n{KEY}=\nRESEARCH_QUOTA=\n")
    monkeypatch.setenv(KEY, "  ")
    settings = Settings.from_env()
    assert (settings.client_key, settings.research_cap) == ("abc", 5)
    monkeypatch.setenv("RESEARCH_QUOTA", "7")
    assert Settings.from_env().research_cap == 7


def test_secrets_are_used_as_they_are_written(env_file: Path) -> None:
    env_file.write_text("X=y\nTIKTOK_CLIENT_KEY=a${X}b$X\nTIKTOK_CLIENT_SECRET='c d'\nRESEARCH_DATA=${X}/data\n")
    with pytest.raises(SettingsError, match="TIKTOK_CLIENT_SECRET cannot be used"):
        Settings.from_env()
    env_file.write_text(env_file.read_text().replace("c d", "c#d"))
    settings = Settings.from_env()
    assert (settings.client_key, settings.client_secret) == ("a${X}b$X", "c#d")
    assert settings.root == env_file.parent / "y" / "data"


def test_relative_paths_count_from_the_file_that_names_them(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("RESEARCH_DATA=data\nRESEARCH_STUDIES=a:../b\nRESEARCH_PSEUDONYM_KEY_FILE=keys/one\n")
    lab, roots = env_file.parent, set()
    for folder in (lab.parent, lab, Path("/")):
        monkeypatch.chdir(folder)
        settings = Settings.from_env()
        roots.add(settings.root)
        assert settings.studies == (lab / "a", lab.parent / "b")
        assert settings.export_key == lab / "keys" / "one"
        # Dagster's `dg` copies the file into the environment.
        monkeypatch.setenv("RESEARCH_DATA", "data")
    assert roots == {lab / "data"}
    monkeypatch.chdir(lab.parent)
    # The argument of a program is not in the file.
    assert Settings.from_env(over={"RESEARCH_DATA": "data"}).root == lab.parent / "data"
    monkeypatch.setenv("RESEARCH_DATA", "other")
    assert Settings.from_env().root == lab.parent / "other"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("TIKTOK_CLIENT_KEYS", KEY),
        ("tiktok_client_key", KEY),
        ("TIKTOK_KEY", KEY),
        ("TIKTOK-CLIENT-KEY", KEY),
        ("TIKTOKCLIENT_KEY", KEY),
        ("TIKTOC_CLIENT_KEY", KEY),
        ("TIK_TOK_CLIENT_KEY", KEY),
        ("RESEARCH_CLIENT_SECRET", "TIKTOK_CLIENT_SECRET"),
        ("TIKTOK_SECRET", "TIKTOK_CLIENT_SECRET"),
        ("RESEARCH_DIR_DATA", "RESEARCH_DATA"),
        ("RESEACH_DATA", "RESEARCH_DATA"),
        ("TIKTOK_API_ADDRESS", "TIKTOK_API_URL"),
        ("TIKTOK_URL", "TIKTOK_API_URL"),
        ("RESEARCH_ZZZZZZ", None),
    ],
)
@pytest.mark.parametrize("in_file", [True, False])
def test_unknown_name_is_reported_with_the_nearest_known_one(
    env_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, nearest: str | None, in_file: bool
) -> None:
    env_file.write_text(f"{name}=s3cret\n" if in_file else "")
    if not in_file:
        monkeypatch.setenv(name, "s3cret")
    (one,) = Settings.from_env().unknown
    assert (one.name, one.nearest) == (name, nearest)
    assert str(one).startswith(f"The variable {name} in {env_file if in_file else 'the environment'} is unknown")
    assert "s3cret" not in str(one)


def test_usual_names_are_not_reported(env_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env_file.write_text("DEBUG=1\nAWS_SECRET=x\nHTTPS_PROXY=x\n")
    for name in ("RESEARCH_WAREHOUSE_BUILD", "DAGSTER_HOME", "PYTHONPATH", "API_URL", "TIMEOUT", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, "/x")
    assert Settings.from_env().unknown == ()


@given(st.binary(max_size=60) | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "any.env"
    file.write_bytes(b"RESEARCH_DATA=" + content)
    patch = pytest.MonkeyPatch()
    patch.setitem(os.environ, ENV_FILE, str(file))
    patch.delitem(os.environ, "RESEARCH_DATA", raising=False)
    try:
        settings = Settings.from_env()
        assert settings.root.is_absolute()
    except SettingsError:
        pass
    finally:
        patch.undo()
