"""The choice between the real API and the sandbox: without credentials, commands use the sandbox and its data.

Not here: the data folder, which follows from the API's address (see settings.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from research_assets.instance import instance_file, missing_settings, prepare_home
from research_assets.settings import DEMO_STUDIES_DIR, VARIABLES, Settings, SettingsError

_URL, _KEY, _SECRET, _RATE, _STUDIES = (
    VARIABLES[name].name for name in ("api_url", "client_key", "client_secret", "rate_limit", "studies")
)
SANDBOX_RATE_LIMIT = 50
"""Requests per second that the sandbox accepts and the client sends."""


def uses_sandbox(settings: Settings) -> bool:
    """Return whether the settings name no API: neither credentials nor the address of a running sandbox.

    Raises SettingsError if only the key or only the secret is set, which is an error and no choice of the sandbox.
    """
    if bool(settings.client_key) != bool(settings.client_secret):
        present, missing = (_KEY, _SECRET) if settings.client_key else (_SECRET, _KEY)
        raise SettingsError(
            f"{present} is set but {missing} is not. No request was sent. Set both for the real API, or unset both."
        )
    return not settings.client_key and settings.origin != "sandbox"


def data_settings() -> Settings:
    """Return the settings for commands that only read collected data."""
    settings = Settings.from_env()
    return (
        Settings.from_env(over={_URL: "http://127.0.0.1"} | _with_demo_study(settings))
        if uses_sandbox(settings)
        else settings
    )


def _with_demo_study(settings: Settings) -> dict[str, str]:
    """Return the setting that adds the demo study; empty if the environment names studies."""
    return {} if settings.studies else {_STUDIES: str(DEMO_STUDIES_DIR)}


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
        yield Settings.from_env(over=over | _with_demo_study(settings) | {_URL: sandbox.url})


def prepare_instance(settings: Settings) -> None:
    """Prepare the home of the Dagster instance; print to stderr what a person's `dagster.yaml` does not set."""
    home = prepare_home(settings)
    missing = missing_settings(home)
    if missing:
        click.echo(f"{instance_file(home)} is used as it is. Recommended settings that it does not have:", err=True)
        for setting in missing:
            click.echo(f"  {setting}", err=True)
