"""The choice between the real API and the sandbox: without credentials, commands use the sandbox and its data.

Not here: the data folder, which follows from the API's address (see settings.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from research_assets.instance import instance_file, missing_settings, prepare_home
from research_assets.settings import VARIABLES, Settings, data_settings, uses_sandbox, with_demo_study

__all__ = ["api_settings", "data_settings", "prepare_instance", "uses_sandbox"]

_URL, _KEY, _SECRET, _RATE = (VARIABLES[name].name for name in ("api_url", "client_key", "client_secret", "rate_limit"))
SANDBOX_RATE_LIMIT = 50
"""Requests per second that the sandbox accepts and the client sends."""


@contextmanager
def api_settings() -> Iterator[Settings]:
    """Yield the settings for commands that send requests. Without an API, a sandbox runs while the block lasts."""
    settings = Settings.from_env()
    if not uses_sandbox(settings):
        yield settings
        return
    from research_assets.sandbox.config import SandboxConfig
    from research_assets.sandbox.server import run_in_thread

    # The faults of the API on a usual day, with a higher rate limit so that commands finish quickly.
    config = SandboxConfig(profile="typical", rate=SANDBOX_RATE_LIMIT, p_fresh_search_id=0.1)
    over = {_KEY: config.client_key, _SECRET: config.client_secret, _RATE: str(SANDBOX_RATE_LIMIT)}
    with run_in_thread(config) as sandbox:
        yield Settings.from_env(over=over | with_demo_study(settings) | {_URL: sandbox.url})


def prepare_instance(settings: Settings) -> None:
    """Prepare the home of the Dagster instance; print to stderr what a person's `dagster.yaml` does not set."""
    home = prepare_home(settings)
    missing = missing_settings(home)
    if missing:
        click.echo(f"{instance_file(home)} is used as it is. Recommended settings that it does not have:", err=True)
        for setting in missing:
            click.echo(f"  {setting}", err=True)
