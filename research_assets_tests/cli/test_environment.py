"""The choice between the real API and the sandbox by credentials and address."""

from contextlib import chdir
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from research_assets.cli import main
from research_assets.cli.environment import data_settings, uses_sandbox
from research_assets.settings import PROJECT_DIR, VARIABLES, Settings, SettingsError, prepare_root
from research_assets_tests.report.report_warehouse import garden_rows, publish

CREDENTIALS = {"TIKTOK_CLIENT_KEY": "key", "TIKTOK_CLIENT_SECRET": "secret"}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, True),
        (CREDENTIALS, False),
        ({"TIKTOK_API_URL": "http://127.0.0.1:8080"}, False),
        ({"TIKTOK_API_URL": "https://open.tiktokapis.com"}, False),
        ({"TIKTOK_API_URL": "http://127.0.0.1:8080"} | CREDENTIALS, False),
    ],
)
def test_sandbox_is_used_without_credentials_and_address(environ: dict[str, str], expected: bool) -> None:
    assert uses_sandbox(Settings.from_env(environ)) is expected


@pytest.mark.parametrize("name", CREDENTIALS)
def test_incomplete_credentials_are_an_error(name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is set but"):
        uses_sandbox(Settings.from_env({name: CREDENTIALS[name]}))


@pytest.fixture
def no_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that names neither an API nor a data folder."""
    for variable in VARIABLES.values():
        monkeypatch.delenv(variable.name, raising=False)


def mark(folder: Path, origin: str) -> Path:
    (folder / "state").mkdir(parents=True, exist_ok=True)
    (folder / "state" / "origin").write_text(origin)
    return folder


@pytest.mark.usefixtures("no_api")
def test_data_settings_without_credentials_and_folder_use_the_sandbox_folder() -> None:
    settings = data_settings()
    assert settings.root == PROJECT_DIR / "data" / "sandbox"
    assert settings.is_simulated


@pytest.mark.usefixtures("no_api")
def test_simulated_data_of_the_project_has_a_ledger_in_its_own_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEARCH_LEDGER", "postgresql://lab/quota")
    assert data_settings().ledger_url == ""
    monkeypatch.setenv("TIKTOK_API_URL", "http://127.0.0.1:8080")
    assert data_settings().ledger_schema == "research_assets_sandbox"
    monkeypatch.setenv("TIKTOK_API_URL", "https://open.tiktokapis.com")
    assert (data_settings().ledger_url, data_settings().ledger_schema) == ("postgresql://lab/quota", "research_assets")


@pytest.mark.usefixtures("no_api")
@pytest.mark.parametrize("origin", ["", "https://open.tiktokapis.com", "sandbox"])
def test_named_data_folder_is_read_as_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origin: str) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(mark(tmp_path, origin) if origin else tmp_path))
    settings = data_settings()
    assert settings.root == tmp_path
    assert settings.is_simulated is (origin == "sandbox")


@pytest.mark.usefixtures("no_api")
def test_data_settings_with_credentials_use_the_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    settings = data_settings()
    assert settings.root == PROJECT_DIR / "data"
    assert not settings.is_simulated


SENDING = (["audit", "ids.csv", "--yes"], ["rehydrate", "ids.csv", "--yes"], ["ui"], ["plan", "--probe", "--yes"])
READING = (["plan"], ["status"], ["export"], ["report"], ["new-study", "one", "--hashtag", "x"], ["replay"])


def run(tmp_path: Path, command: list[str], **environment: str) -> Result:
    (tmp_path / "ids.csv").write_text("id\n7600000000000000001\n")
    with chdir(tmp_path):
        return CliRunner().invoke(main, command, env=environment, terminal_width=200)


def assert_refused(result: Result, folder: Path, *texts: str) -> None:
    assert result.exit_code == 1, result.output
    assert "\nError: " in f"\n{result.stderr}"
    assert all(text in result.stderr for text in texts), result.stderr
    assert "%" not in result.stdout
    assert sorted(path.name for path in folder.iterdir()) == ["ids.csv"]


@pytest.mark.usefixtures("no_api")
@pytest.mark.parametrize("command", SENDING, ids=lambda words: words[0])
def test_no_command_marks_a_named_data_folder_as_simulated(command: list[str], tmp_path: Path) -> None:
    result = run(tmp_path, command, RESEARCH_DATA=str(tmp_path / "named"))
    assert_refused(
        result, tmp_path, "TIKTOK_CLIENT_KEY and TIKTOK_CLIENT_SECRET are not set", "research-assets sandbox"
    )


@pytest.mark.usefixtures("no_api")
@pytest.mark.parametrize("command", SENDING[:2], ids=lambda words: words[0])
def test_real_ids_are_not_looked_up_in_the_sandbox(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("research_assets.settings.home_folder", lambda: tmp_path)
    assert_refused(run(tmp_path, command), tmp_path, "belong to real videos")
    # Not even in a folder of simulated data: the list is one of real videos.
    (folder := tmp_path / "simulated").mkdir()
    result = run(tmp_path, command, RESEARCH_DATA=str(mark(folder, "sandbox")))
    assert "belong to real videos" in result.stderr
    assert [path.name for path in folder.iterdir()] == ["state"]


@pytest.mark.usefixtures("no_api")
@pytest.mark.parametrize("command", [*SENDING, *READING], ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("in_file", [True, False])
def test_misspelt_name_is_no_choice_of_the_sandbox(
    command: list[str], in_file: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file := tmp_path.parent / f"{tmp_path.name}.env").write_text("TIKTOK_CLIENT_KEYS=s3cret\n" if in_file else "")
    monkeypatch.setattr("research_assets.settings.home_folder", lambda: tmp_path)
    environment = {"RESEARCH_ENV_FILE": str(file)} | ({} if in_file else {"TIKTOK_CLIENT_KEYS": "s3cret"})
    result = run(tmp_path, command, **environment)
    assert_refused(result, tmp_path, "TIKTOK_CLIENT_KEYS in", "Do you mean TIKTOK_CLIENT_KEY?")
    assert "s3cret" not in result.output


@pytest.mark.usefixtures("no_api")
def test_one_misspelt_credential_is_named(tmp_path: Path) -> None:
    result = run(tmp_path, ["status"], TIKTOK_CLIENT_KEY="a", TIKTOK_CLIENT_SECRT="s3cret")
    assert_refused(result, tmp_path, "TIKTOK_CLIENT_SECRT in the environment", "Do you mean TIKTOK_CLIENT_SECRET?")


@pytest.mark.usefixtures("no_api")
def test_first_line_of_every_command_says_that_data_is_simulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("research_assets.settings.home_folder", lambda: tmp_path)
    settings = Settings.from_env({"TIKTOK_API_URL": "http://127.0.0.1"})
    prepare_root(settings)
    publish(settings, garden_rows())
    for command in READING:
        result = run(tmp_path, command, RESEARCH_STUDIES=str(tmp_path / "studies"))
        assert result.stdout.startswith(f"Simulated data, not from TikTok: {settings.root}\n"), result.output
    # Also where the credentials of the real API are set.
    result = run(tmp_path, ["export"], RESEARCH_DATA=str(settings.root), **CREDENTIALS)
    assert result.stdout.startswith("Simulated data, not from TikTok: ")
    assert "Simulated" not in run(tmp_path, ["status"], **CREDENTIALS).output


def test_unknown_name_is_reported_by_every_command(tmp_path: Path) -> None:
    # A process reports a name once.
    for command, name in ((["status"], "RESEARCH_QUOTTA"), (["plan"], "RESEARCH_QUOTAA")):
        result = run(tmp_path, command, **{name: "5"})
        assert result.exit_code == 0, result.output
        assert result.stderr.count(f"Warning: The variable {name} in the environment is unknown") == 1
        assert "Do you mean RESEARCH_QUOTA?" in result.stderr


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(40, "Too many symbolic links")])
def test_data_folder_that_cannot_be_accessed_is_one_message(
    error: OSError, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = Path.exists

    def refuse(path: Path) -> bool:
        if path.is_relative_to(tmp_path / "data"):
            raise OSError(error.errno, error.strerror, str(path))
        return exists(path)

    monkeypatch.setattr(Path, "exists", refuse)
    result = run(tmp_path, ["status"])
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: ")
    assert f"cannot be used: {error.strerror}." in result.stderr
    assert str(tmp_path) in result.stderr


@pytest.mark.parametrize("host", ["localhost.", "LOCALHOST", "a.localhost", "127.1", "2130706433", "0.0.0.0", "[::]"])
def test_every_spelling_of_loopback_is_the_sandbox(host: str) -> None:
    assert Settings.from_env({"TIKTOK_API_URL": f"http://{host}:8080"}).origin == "sandbox"


@pytest.mark.parametrize("host", ["127.0.0.1.example", "localhost.example", "mylocalhost", "1.27.0.1", "[2001:db8::1]"])
def test_other_hosts_are_not_the_sandbox(host: str) -> None:
    assert Settings.from_env({"TIKTOK_API_URL": f"http://{host}:8080"}).origin != "sandbox"


@pytest.mark.usefixtures("no_api")
@pytest.mark.parametrize("option", ["--status", "--certificate"])
def test_an_auditor_needs_no_credentials(option: str, tmp_path: Path) -> None:
    (folder := tmp_path / "data").mkdir()
    environment = {"RESEARCH_DATA": str(mark(folder, "https://open.tiktokapis.com"))}
    result = run(tmp_path, ["verify", option], **environment)
    assert result.exit_code == 0, result.output
    assert result.output.startswith("videos    0 stored, 0 ")
    assert "Only the API that returned the stored items" in run(tmp_path, ["verify"], **environment).stderr


def test_closed_input_is_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    monkeypatch.setattr("sys.stdin", None)
    main.main(["forget", "--video", "7600000000000000001"], standalone_mode=False)
    assert "Nothing was changed. Repeat the command with --yes" in capsys.readouterr().out


def test_command_in_a_deleted_folder_says_so(tmp_path: Path) -> None:
    (folder := tmp_path / "gone").mkdir()
    with chdir(folder):
        folder.rmdir()
        result = CliRunner().invoke(main, ["status"], env={"RESEARCH_DATA": "data"})
    assert "Error: The current folder does not exist any more. Change to another folder" in result.stderr


@pytest.mark.usefixtures("no_api")
def test_interrupted_query_ends_a_removal_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (state := tmp_path / "data" / "state").mkdir(parents=True)

    def interrupt(*_: object, **__: object) -> None:
        (state / "removal.json").write_text("{}")
        message = "Query interrupted"  # of DuckDB
        raise RuntimeError(message)

    monkeypatch.setattr("research_assets.compliance.forget.remove_items", interrupt)
    environment = {"RESEARCH_DATA": str(mark(tmp_path / "data", "sandbox"))}
    result = run(tmp_path, ["forget", "--video", "7600000000000000001", "--yes"], **environment)
    assert result.exit_code == 1
    assert "The removal is not finished. Finish it with: research-assets forget" in result.stderr
    assert result.stderr.endswith("Aborted!\n")
