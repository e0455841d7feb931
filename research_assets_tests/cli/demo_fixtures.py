"""One run of the demo for all tests that read its data: the commands, the documentation."""

import os
from collections.abc import Iterator
from io import StringIO

import pytest
from rich.console import Console

from research_assets.cli.demo import Demo
from research_assets.instance import prepare_home
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import RunningSandbox, run_in_thread
from research_assets.settings import DEMO_STUDIES_DIR, Settings, prepare_root
from research_assets.study.loader import find_studies


@pytest.fixture(scope="session")
def demo_sandbox() -> Iterator[RunningSandbox]:
    """Return the simulated API of the demo."""
    with run_in_thread(SandboxConfig(profile="typical", rate=0, p_fresh_search_id=0)) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def demo_settings(demo_sandbox: RunningSandbox, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return settings of the demo: its study, its API and a data folder."""
    settings = Settings.from_env(
        {
            "RESEARCH_DATA": str(tmp_path_factory.mktemp("demo")),
            "RESEARCH_STUDIES": str(DEMO_STUDIES_DIR),
            "RESEARCH_RATE_LIMIT": "500",
            "TIKTOK_API_URL": demo_sandbox.url,
            "TIKTOK_CLIENT_KEY": "sandbox-key",
            "TIKTOK_CLIENT_SECRET": "sandbox-secret",
        }
    )
    prepare_root(settings)
    prepare_home(settings)
    return settings


def run_demo(settings: Settings, printed: StringIO | None = None) -> str:
    """Run the demo and return its output; `printed` receives it also if the demo fails."""
    (study,) = (found.spec for found in find_studies(settings) if found.file.is_relative_to(DEMO_STUDIES_DIR))
    printed = printed or StringIO()
    Demo(settings, study, Console(file=printed, width=200)).run()
    return printed.getvalue()


@pytest.fixture(scope="session")
def demo_summary(demo_settings: Settings) -> str:
    """Run the demo once for all tests, with a umask that admits everyone, and return its output."""
    umask = os.umask(0)
    try:
        prepare_root(demo_settings)
        return run_demo(demo_settings)
    finally:
        os.umask(umask)
