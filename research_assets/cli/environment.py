"""Where a command works: on the real API's data, or, as long as there are no credentials, on the sandbox's.

The one place for this decision; which folder then holds the data follows from the API's address, in `settings`.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from research_assets.settings import DEMO_STUDIES_DIR, VARIABLES, Settings, SettingsError

_URL, _KEY, _SECRET, _RATE, _STUDIES = (
    VARIABLES[name].name for name in ("api_url", "client_key", "client_secret", "rate_limit", "studies")
)
SANDBOX_RATE_LIMIT = 50
"""Requests a second that the sandbox takes and is sent."""


def uses_sandbox(settings: Settings) -> bool:
    """Whether nothing points to an API: neither credentials nor the address of a running sandbox.

    Raises SettingsError if only one half of the credentials is set: that is a slip, not a wish to try things out.
    """
    if bool(settings.client_key) != bool(settings.client_secret):
        there, missing = (_KEY, _SECRET) if settings.client_key else (_SECRET, _KEY)
        raise SettingsError(f"{there} is set but {missing} is not. Set both for the real API, or neither.")
    return not settings.client_key and settings.origin != "sandbox"


def data_settings() -> Settings:
    """Settings for commands that only read what is held."""
    settings = Settings.from_env()
    return (
        Settings.from_env(over={_URL: "http://127.0.0.1"} | _with_demo_study(settings))
        if uses_sandbox(settings)
        else settings
    )


def _with_demo_study(settings: Settings) -> dict[str, str]:
    """The demo study stands beside the sandbox, unless studies are named in the environment."""
    return {} if settings.studies else {_STUDIES: str(DEMO_STUDIES_DIR)}


@contextmanager
def api_settings() -> Iterator[Settings]:
    """Settings for commands that ask the API; if there is none, a sandbox serves while the block lasts."""
    settings = Settings.from_env()
    if not uses_sandbox(settings):
        yield settings
        return
    from research_assets.sandbox.config import SandboxConfig
    from research_assets.sandbox.server import run_in_thread

    # As capricious as the API on a usual day, but quick: nobody learns from waiting for a simulation.
    config = SandboxConfig(profile="typical", rate=SANDBOX_RATE_LIMIT, p_fresh_search_id=0.1)
    over = {_KEY: config.client_key, _SECRET: config.client_secret, _RATE: str(SANDBOX_RATE_LIMIT)}
    with run_in_thread(config) as sandbox:
        yield Settings.from_env(over=over | _with_demo_study(settings) | {_URL: sandbox.url})
