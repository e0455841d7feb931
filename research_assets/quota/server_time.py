"""The server time of the API before the first data request, which the clock of a sandbox may have changed.

It sends no request to the real API: the collector learns its time from responses, and until then the local time is
used. Not here: the clocks (see clock.py).
"""

from research_assets.clock import CONFIRMATIONS, Clock, ServerClock
from research_assets.settings import UI_COMMAND, Settings


class SandboxUnreachable(Exception):
    """The sandbox does not respond, so nothing can be collected."""


def new_clock(settings: Settings, clock: Clock) -> ServerClock:
    """Return a clock for the API of the settings that has learned nothing yet and shows the time of `clock`."""
    return ServerClock(clock, limit=settings.clock_limit)


def server_clock(settings: Settings, clock: Clock) -> ServerClock:
    """Return a clock with the server time of a sandbox, or the local time of `clock`. Raises SandboxUnreachable."""
    server = new_clock(settings, clock)
    if settings.origin == "sandbox":
        import httpx

        # Without TLS there is no certificate to verify. Reading the known ones takes 20 ms, at each tick of a sensor.
        verify = not settings.api_url.startswith("http://")
        try:
            with httpx.Client(timeout=10, trust_env=False, verify=verify) as http:
                for _ in range(1 + CONFIRMATIONS):
                    sent = server.monotonic()
                    date_header = http.head(settings.api_url).headers.get("date")
                    server.observe(date_header, sent, server.monotonic())
                    if not server.needs_answers:
                        break
        except httpx.HTTPError as error:
            raise SandboxUnreachable(
                f"The sandbox at {settings.api_url} does not respond ({type(error).__name__}). No request was sent. "
                f"Start it with `research-assets sandbox`, or run `{UI_COMMAND}`, which starts its own."
            ) from error
    return server


def server_clock_or_local(settings: Settings, clock: Clock) -> Clock:
    """Return the server clock, or `clock` without credentials or if the sandbox does not respond; for status output."""
    if not (settings.client_key and settings.client_secret):
        return clock
    try:
        return server_clock(settings, clock)
    except SandboxUnreachable:
        return clock
