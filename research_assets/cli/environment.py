"""The choice between the real API and the sandbox: without credentials, commands use the sandbox and its data.

Simulated data never poses as real data. The sandbox is used only where nothing suggests that the user means the real
API: no credentials, no address, no data folder, no list of real ids, and no variable with a similar name.

Not here: the data folder, which follows from the API's address (see settings.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from research_assets.instance import instance_file, missing_settings, prepare_home
from research_assets.settings import (
    LOCAL_LEDGER,
    VARIABLES,
    Settings,
    SettingsError,
    require_no_similar_name,
    stored_origin,
    uses_sandbox,
    with_demo_study,
)
from research_assets.settings import data_settings as settings_of_data

__all__ = ["announce_simulation", "api_settings", "data_settings", "prepare_instance", "uses_sandbox"]

_URL, _KEY, _SECRET, _RATE, _DATA = (
    VARIABLES[name].name for name in ("api_url", "client_key", "client_secret", "rate_limit", "root")
)
LISTED_IDS = "The ids of a list belong to real videos"
"""Why no simulated API is started for commands on lists of ids."""

SANDBOX_RATE_LIMIT = 50
"""Requests per second that the sandbox accepts and the client sends."""

_USE_EITHER = (
    f"Set {_KEY} and {_SECRET} for the real API. For simulated data, run `research-assets sandbox` and set the "
    "variables that it prints."
)


def data_settings() -> Settings:
    """Return the settings for commands that only read collected data. Print a first line if the data is simulated."""
    settings = settings_of_data()
    announce_simulation(settings)
    return settings


def announce_simulation(settings: Settings) -> None:
    """Print a line if the data is simulated. It is the first line of the command's output."""
    if settings.is_simulated:
        click.echo(f"Simulated data, not from TikTok: {settings.root}")


def _require_choice_of_sandbox(settings: Settings, *, known_ids: str) -> None:
    """Raise SettingsError where simulated data could be taken for real data."""
    require_no_similar_name(settings)
    if known_ids:
        raise SettingsError(f"{known_ids}, but {_KEY} and {_SECRET} are not set. No request was sent. " + _USE_EITHER)
    if "root" in settings.named and stored_origin(settings) != "sandbox":
        raise SettingsError(
            f"{_DATA} names the data folder {settings.root}, but {_KEY} and {_SECRET} are not set. Simulated data "
            f"would belong to this folder for good, so nothing was started. {_USE_EITHER} Without {_DATA}, the "
            "simulated data has a folder of its own."
        )


@contextmanager
def api_settings(*, demo: bool = False, known_ids: str = "") -> Iterator[Settings]:
    """Yield the settings for commands that send requests. Without an API, a sandbox runs while the block lasts.

    `demo` is for the command whose name chooses the sandbox, `known_ids` the beginning of the error message of commands
    on ids that another API would not know. Raises SettingsError where simulated data could be taken for real data.
    """
    settings = Settings.from_env()
    if not uses_sandbox(settings):
        yield settings
        return
    if not demo:
        _require_choice_of_sandbox(settings, known_ids=known_ids)
    from research_assets.sandbox.config import SandboxConfig
    from research_assets.sandbox.server import run_in_thread

    # The faults of the API on a usual day, with a higher rate limit so that commands finish quickly.
    config = SandboxConfig(profile="typical", rate=SANDBOX_RATE_LIMIT, p_fresh_search_id=0.1)
    over = {_KEY: config.client_key, _SECRET: config.client_secret, _RATE: str(SANDBOX_RATE_LIMIT)}
    with run_in_thread(config) as sandbox:
        yield Settings.from_env(over=over | LOCAL_LEDGER | with_demo_study(settings) | {_URL: sandbox.url})


def prepare_instance(settings: Settings) -> None:
    """Prepare the home of the Dagster instance; print to stderr what a person's `dagster.yaml` does not set."""
    home = prepare_home(settings)
    missing = missing_settings(home)
    if missing:
        click.echo(f"{instance_file(home)} is used as it is. Recommended settings that it does not have:", err=True)
        for setting in missing:
            click.echo(f"  {setting}", err=True)
