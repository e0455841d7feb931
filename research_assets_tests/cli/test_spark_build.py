"""The command `spark-build`: its options, and a message that names what is missing. Builds: see test_spark.py."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from research_assets.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--conf", "spark.executor.memory"], "NAME=VALUE"),
        (["--thrift", "host"], "NAME:VALUE"),
        (["--thrift", "host:port"], "HOST:PORT"),
    ],
)
def test_spark_build_refuses_malformed_options(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    result = CliRunner().invoke(main, ["spark-build", *arguments])
    assert result.exit_code == 2
    assert message in result.output


def test_spark_build_without_java_names_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESEARCH_DATA", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    result = CliRunner().invoke(main, ["spark-build"])
    assert result.exit_code == 1
    assert "Java 17 or later" in result.output
    assert list(tmp_path.iterdir()) == []
