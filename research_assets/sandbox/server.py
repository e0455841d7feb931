"""The sandbox as a server on loopback: the command `research-assets sandbox`, or a thread for tests and benchmarks."""

import math
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import click
import uvicorn

from research_assets.clock import Clock
from research_assets.sandbox.app import Receive, Sandbox, Scope, Send, create_app
from research_assets.sandbox.clock import SandboxClock
from research_assets.sandbox.config import PROFILES, SandboxConfig
from research_assets.sandbox.control import state
from research_assets.sandbox.ground_truth import GroundTruth
from research_assets.sandbox.world.world import World

HOST = "127.0.0.1"

_OWN_NAMES = (HOST.encode(), b"localhost")
_REFUSAL = b"The sandbox answers requests for its own address only."


class PortInUse(OSError):
    """Another program listens on the port."""


def _listen(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise PortInUse(
            f"The sandbox could not listen on port {port} of this machine: {error.strerror}. "
            "Another program uses the port. Stop that program, or choose another port with --port."
        ) from error
    return listener


def _server(app: Sandbox) -> uvicorn.Server:
    settings = uvicorn.Config(
        _for_own_address(app),
        http="auto",
        loop="auto",
        lifespan="off",
        log_level="warning",
        access_log=False,
        date_header=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=600,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(settings)


def _for_own_address(app: Sandbox) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """Return an application that refuses requests for another host name.

    DNS rebinding: a foreign page could read and control the sandbox under a name that resolves to this machine.
    """

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            hosts = [value for name, value in scope["headers"] if name == b"host"]
            if len(hosts) != 1 or hosts[0].partition(b":")[0].lower() not in _OWN_NAMES:
                headers = [(b"content-type", b"text/plain"), (b"content-length", b"%d" % len(_REFUSAL))]
                await send({"type": "http.response.start", "status": 403, "headers": headers})
                await send({"type": "http.response.body", "body": _REFUSAL})
                return
        await app(scope, receive, send)

    return serve


@dataclass(frozen=True, slots=True)
class RunningSandbox:
    """A sandbox that listens at `url`; `app` is its application."""

    url: str
    app: Sandbox

    @property
    def world(self) -> World:
        """The simulated world."""
        return self.app.world

    @property
    def ground_truth(self) -> GroundTruth:
        """The items that a perfect collector would receive."""
        return self.app.ground_truth

    @property
    def state(self) -> dict[str, Any]:
        """The sandbox's state, as `GET /sandbox/state` returns it."""
        return state(self.app)

    @property
    def clock(self) -> SandboxClock:
        """The sandbox's clock."""
        return self.app.clock


@contextmanager
def run_in_thread(
    config: SandboxConfig | None = None, port: int = 0, clock: Clock | None = None
) -> Iterator[RunningSandbox]:
    """Run a sandbox on loopback in a thread of this process. Port 0 selects a free port. Raises PortInUse."""
    app = create_app(config, clock)
    listener = _listen(port)
    server = _server(app)
    thread = threading.Thread(target=server.run, args=([listener],), name="sandbox", daemon=True)
    thread.start()
    try:
        yield RunningSandbox(f"http://{HOST}:{listener.getsockname()[1]}", app)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def _banner(config: SandboxConfig, app: Sandbox, port: int) -> str:
    volume = f", {config.fixed_volume:,} videos every day" if config.fixed_volume is not None else ""
    return f"""
  A simulated TikTok Research API is running. All of its data is invented.

    page      http://{HOST}:{port}/
    profile   {config.profile}, seed {config.seed}{volume}
    clock     {app.clock.now():%Y-%m-%d %H:%M:%S} UTC
    quota     {config.research_cap:,} requests per day, {config.follow_cap:,} for follow lists

  To use it:

    export TIKTOK_API_URL=http://{HOST}:{port}
    export TIKTOK_CLIENT_KEY={config.client_key}
    export TIKTOK_CLIENT_SECRET={config.client_secret}

  Press Ctrl-C to stop it.
"""


def serve(config: SandboxConfig, port: int) -> None:
    """Serve a sandbox on loopback until it is interrupted. Raises PortInUse."""
    app = create_app(config)
    listener = _listen(port)
    click.echo(_banner(config, app, listener.getsockname()[1]))
    _server(app).run([listener])


@click.command(name="sandbox")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="Listen on this port; 0 selects one."
)
@click.option(
    "--profile",
    type=click.Choice(list(PROFILES)),
    default="typical",
    show_default=True,
    help="Set the kind and number of faults: clean has none, typical those that users often report, hostile all. "
    "dense publishes 4,000 videos per day under a quota of 60 requests, and its search ids expire after 6 hours.",
)
@click.option("--seed", type=int, default=7, show_default=True, help="Set the seed that determines all data.")
@click.option(
    "--quota",
    type=click.IntRange(0),
    help="Accept this many requests per UTC day. Default: the profile's (1,000; dense: 60).",
)
@click.option(
    "--follow-quota",
    type=click.IntRange(0),
    default=20_000,
    show_default=True,
    help="Accept this many follow-list requests per UTC day.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0),
    help="Accept this many requests per second; 0 for no limit. Default: the profile's.",
)
@click.option(
    "--latency",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="Delay each answer by this many seconds.",
)
@click.option("--start-time", type=click.DateTime(), help="Start the clock at this time, UTC. Default: now.")
@click.option(
    "--fixed-volume",
    type=click.IntRange(0),
    help="Publish exactly this many videos per day; all match any query. For benchmarks. Default: the profile's.",
)
@click.option(
    "--undeliverable",
    type=click.FloatRange(0, 1),
    help="Withhold this share of hits from all pages. Default: the profile's.",
)
def command(port: int, quota: int | None, follow_quota: int, start_time: datetime | None, **options: Any) -> None:
    """Serve a simulated Research API on this machine, for trials, teaching and tests.

    The page at its address shows the quota and the newest requests. Use the printed variables in another terminal to
    send requests to it. Nothing is sent to TikTok.
    """
    for name, value in options.items():
        # A range of click accepts NaN and infinity.
        if isinstance(value, float) and not math.isfinite(value):
            raise click.BadParameter(f"{value} is no finite number.", param_hint=f"--{name}")
    given = {name: value for name, value in (options | {"research_cap": quota}).items() if value is not None}
    start = start_time.replace(tzinfo=UTC) if start_time else None
    try:
        serve(SandboxConfig(follow_cap=follow_quota, start_time=start, **given), port)
    except (PortInUse, ValueError) as error:
        raise click.ClickException(str(error)) from error
