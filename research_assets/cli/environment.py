"""The choice between the real API and the sandbox: without credentials, commands use the sandbox and its data.

Simulated data never poses as real data. The sandbox is used only where nothing suggests that the user means the real
API: no credentials, no address, no data folder, no list of real ids, and no variable with a similar name.

Not here: the data folder, which follows from the API's address (see settings.py).
"""

from collections.abc import Iterator
from contextlib import contextmanager

import click

from research_assets.settings import DEMO_STUDIES_DIR, VARIABLES, Settings, SettingsError, stored_origin

_URL, _KEY, _SECRET, _RATE, _STUDIES, _DATA = (
    VARIABLES[name].name for name in ("api_url", "client_key", "client_secret", "rate_limit", "studies", "root")
)
SANDBOX_RATE_LIMIT = 50
"""Requests per second that the sandbox accepts and the client sends."""

_USE_EITHER = (
    f"Set {_KEY} and {_SECRET} for the real API. For simulated data, run `research-assets sandbox` and set the "
    "variables that it prints."
)


def uses_sandbox(settings: Settings) -> bool:
    """Return whether the settings name no API: neither credentials nor an address.

    Raises SettingsError if only the key or only the secret is set, which is an error and no choice of the sandbox.
    """
    if bool(settings.client_key) != bool(settings.client_secret):
        present, missing = (_KEY, _SECRET) if settings.client_key else (_SECRET, _KEY)
        similar = "".join(f" {one}" for one in settings.unknown if one.nearest == missing)
        raise SettingsError(
            f"{present} is set but {missing} is not.{similar} No request was sent. Set both for the real API, or unset "
            "both."
        )
    return not settings.client_key and "api_url" not in settings.named


def data_settings() -> Settings:
    """Return the settings for commands that only read collected data. Print a first line if the data is simulated.

    Without credentials, a data folder that is named is read as it is. Raises SettingsError if a name of a variable is
    similar to one that would choose the API.
    """
    settings = Settings.from_env()
    if uses_sandbox(settings):
        _require_no_similar_name(settings)
        if "root" not in settings.named or stored_origin(settings) == "sandbox":
            settings = Settings.from_env(over={_URL: "http://127.0.0.1"} | _with_demo_study(settings))
    announce_simulation(settings)
    return settings


def announce_simulation(settings: Settings) -> None:
    """Print a line if the data is simulated. It is the first line of the command's output."""
    if settings.is_simulated:
        click.echo(f"Simulated data, not from TikTok: {settings.root}")


def _require_no_similar_name(settings: Settings) -> None:
    """Raise SettingsError if an unknown variable is probably meant to choose the API or the data folder."""
    similar = [one for one in settings.unknown if one.nearest in (_KEY, _SECRET, _URL, _DATA)]
    if similar:
        raise SettingsError(
            f"{' '.join(map(str, similar))} Neither the credentials nor the address of an API are set, and the "
            "simulated API was not used instead. No request was sent. Correct the name, or unset the variable to use "
            "the simulated API."
        )


def _require_choice_of_sandbox(settings: Settings, *, real_ids: bool) -> None:
    """Raise SettingsError where simulated data could be taken for real data."""
    _require_no_similar_name(settings)
    if real_ids:
        raise SettingsError(
            f"The ids of a list belong to real videos, but {_KEY} and {_SECRET} are not set. No request was sent. "
            + _USE_EITHER
        )
    if "root" in settings.named and stored_origin(settings) != "sandbox":
        raise SettingsError(
            f"{_DATA} names the data folder {settings.root}, but {_KEY} and {_SECRET} are not set. Simulated data "
            f"would belong to this folder for good, so nothing was started. {_USE_EITHER} Without {_DATA}, the "
            "simulated data has a folder of its own."
        )


def _with_demo_study(settings: Settings) -> dict[str, str]:
    """Return the setting that adds the demo study; empty if the environment names studies."""
    return {} if settings.studies else {_STUDIES: str(DEMO_STUDIES_DIR)}


@contextmanager
def api_settings(*, demo: bool = False, real_ids: bool = False) -> Iterator[Settings]:
    """Yield the settings for commands that send requests. Without an API, a sandbox runs while the block lasts.

    `demo` is for the command whose name chooses the sandbox, `real_ids` for commands on lists of ids. Raises
    SettingsError where simulated data could be taken for real data.
    """
    settings = Settings.from_env()
    if not uses_sandbox(settings):
        yield settings
        return
    if not demo:
        _require_choice_of_sandbox(settings, real_ids=real_ids)
    from research_assets.sandbox.config import SandboxConfig
    from research_assets.sandbox.server import run_in_thread

    # The faults of the API on a usual day, with a higher rate limit so that commands finish quickly.
    config = SandboxConfig(profile="typical", rate=SANDBOX_RATE_LIMIT, p_fresh_search_id=0.1)
    over = {_KEY: config.client_key, _SECRET: config.client_secret, _RATE: str(SANDBOX_RATE_LIMIT)}
    with run_in_thread(config) as sandbox:
        yield Settings.from_env(over=over | _with_demo_study(settings) | {_URL: sandbox.url})
