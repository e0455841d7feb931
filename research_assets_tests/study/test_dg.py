"""Studies in Dagster's own commands, on a copy of the project that contains studies."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from research_assets.instance import prepare_home
from research_assets.settings import PROJECT_DIR, VARIABLES, Settings
from research_assets.study.loader import read_study_file
from research_assets_tests.study.study_files import MINIMAL_STUDY, write

PARTS = ("pyproject.toml", "workspace.yaml", "research_assets", "dbt_project")


class Project:
    """A copy of the project in which `dg` runs."""

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self.defs = root / "research_assets" / "defs"
        # The fixture lives longer than a test, so it does not have the empty environment of one.
        self._environment = os.environ | {variable.name: "" for variable in VARIABLES.values()}
        self._environment |= {
            "PYTHONPATH": os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])]),
            "DAGSTER_HOME": str(prepare_home(settings)),
            VARIABLES["root"].name: str(settings.root),
            VARIABLES["studies"].name: str(root / "elsewhere"),
        }

    def dg(self, *command: str, studies: str | None = None, **environment: str) -> tuple[int, str]:
        """Run `dg` and return its exit code and output; `studies` replaces the additional folder of studies."""
        if studies is not None:
            environment[VARIABLES["studies"].name] = studies
        program = str(Path(sys.executable).with_name("dg"))
        process = subprocess.run(
            [program, *command],
            cwd=self.root,
            env={**self._environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        return process.returncode, process.stdout + process.stderr


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("project")
    for part in PARTS:
        source = PROJECT_DIR / part
        if source.is_dir():
            # With the compiled modules, which are valid for copies that keep the time of their source.
            shutil.copytree(source, root / part, ignore=shutil.ignore_patterns(".*", "target", "logs"))
        else:
            shutil.copy(source, root / part)
    for path in (root / "research_assets" / "defs").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    (root / "elsewhere").mkdir()
    return Project(root, Settings.from_env({VARIABLES["root"].name: str(root / "data")}))


def test_dg_loads_studies_of_the_project_and_of_another_folder(project: Project) -> None:
    write(project.defs / "one", MINIMAL_STUDY)
    write(project.root / "elsewhere" / "two", MINIMAL_STUDY.replace("gardening", "balcony"))
    code, output = project.dg("check", "defs")
    assert code == 0, output
    assert "All definitions loaded successfully." in output


def test_dg_check_yaml_reports_errors_of_the_schema(project: Project) -> None:
    file = write(project.defs / "one", MINIMAL_STUDY.replace("hashtag_name", "hashtag") + "observe: never")
    code, output = project.dg("check", "yaml")
    assert code == 1
    assert f"{file}:7 - research_assets.Study attributes.query.and.0.field 'hashtag' is not one of" in output
    assert f"{file}:8 - research_assets.Study attributes.observe 'never' is not one of ['weekly', 'daily']" in output


def test_dg_accepts_what_the_loader_takes_as_text(project: Project) -> None:
    study = MINIMAL_STUDY.replace("hashtag_name, eq: gardening", "region_code, in: [SE, NO]").replace(
        "  and:", '  or: [{field: hashtag_name, in: [0711, on, "\\ud83c\\udf31", 1_000]}]\n  and:'
    )
    write(project.defs / "one", study.replace("name: gardening", "name: written") + "panel: {usernames: [0711, on]}")
    code, output = project.dg("check", "defs", "--check-yaml")
    assert code == 0, output
    (declared,) = read_study_file(project.defs / "one" / "defs.yaml")
    assert declared.spec.query["or"][0]["field_values"] == ["0711", "on", "\U0001f331", "1_000"]
    assert declared.spec.panel == ("0711", "on")


def test_dg_check_defs_reports_errors_of_all_files(project: Project) -> None:
    file = write(project.defs / "one", MINIMAL_STUDY.replace("2026-02-01", "2999-02-01"))
    outside = write(project.root / "elsewhere" / "two", MINIMAL_STUDY.replace("hashtag_name", "hashtag"))
    code, output = project.dg("check", "defs")
    assert code == 1
    assert "2 errors in the study files" in output
    assert f"{file}:4: attributes.start: 2999-02-01 is in the future" in output
    assert f"{outside}:7: attributes.query.and.0.field: `hashtag` is unknown; allowed: " in output


def test_dg_scaffold_writes_a_study_file(project: Project) -> None:
    options = ("--hashtags", "garten,balkon", "--start", "2026-02-01")
    code, output = project.dg("scaffold", "defs", "research_assets.Study", "balcony", *options)
    assert code == 0, output
    (declared,) = read_study_file(project.defs / "balcony" / "defs.yaml")
    assert declared.spec.query["and"][0]["field_values"] == ["garten", "balkon"]


def test_dagsters_own_commands_show_the_project_of_make_ui(project: Project) -> None:
    """Without credentials and studies: the demo study with its sensors, and no temporary home in the checkout."""
    for path in project.defs.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    # A data folder that is named belongs to the real API, also without credentials.
    code, output = project.dg("list", "defs", "--json", studies="", **{VARIABLES["root"].name: ""})
    assert code == 0, output
    for name in ("gardening/videos", "marts/videos", "gardening/report", "quota_window", "research_api"):
        assert name in output, name
    with_credentials = {"TIKTOK_CLIENT_KEY": "key", "TIKTOK_CLIENT_SECRET": "secret"}
    write(project.defs / "one", MINIMAL_STUDY.replace("gardening", "balcony"))
    code, output = project.dg("list", "defs", "--json", studies="", **with_credentials)
    assert code == 0, output
    assert "balcony/videos" in output
    assert "gardening/videos" not in output, "the demo belongs to the simulated API"
    assert "secret" not in output.replace("client_secret", "").replace("CLIENT_SECRET", "")
    assert not list(project.root.glob(".tmp_dagster_home_*"))
