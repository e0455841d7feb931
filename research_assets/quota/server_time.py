"""The API's clock, for who looks before anything is asked: a simulated API's may have been moved. Creates nothing.

Nothing is asked of the real API: its clock is learnt from its answers, and until then the machine's is taken for it.
"""

from research_assets.clock import Clock, ServerClock
from research_assets.settings import Settings


class SandboxUnreachable(Exception):
    """The simulated API does not answer, so nothing can be collected now."""


def server_clock(settings: Settings, clock: Clock) -> ServerClock:
    """A clock that shows the API's time as far as it can be known; `clock` is the machine's. Raises Unready."""
    shown = ServerClock(clock)
    if settings.origin == "sandbox":
        import httpx

        try:
            shown.synchronize(httpx.head(settings.api_url, timeout=10).headers.get("date"))
        except httpx.HTTPError as error:
            raise SandboxUnreachable(
                f"The simulated API at {settings.api_url} does not answer ({type(error).__name__}), so "
                "nothing is asked. Start it: research-assets sandbox, or make ui, which brings its own."
            ) from error
    return shown


def server_clock_or_local(settings: Settings, clock: Clock) -> Clock:
    """The API's clock, or the machine's where no API is set up or it does not answer: for looking at what is held."""
    if not (settings.client_key and settings.client_secret):
        return clock
    try:
        return server_clock(settings, clock)
    except SandboxUnreachable:
        return clock
