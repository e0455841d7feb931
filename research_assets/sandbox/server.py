"""The sandbox as a real server on loopback: for a person at a terminal, or in a thread for a test or benchmark."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from research_assets.clock import Clock
from research_assets.sandbox.app import Sandbox, create_app
from research_assets.sandbox.config import SandboxConfig

HOST = "127.0.0.1"


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
            "Another program, perhaps another sandbox, uses it. Stop that one or choose another port with --port."
        ) from error
    return listener


def _server(app: Sandbox) -> uvicorn.Server:
    settings = uvicorn.Config(
        app,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        log_level="warning",
        access_log=False,
        date_header=False,
        server_header=False,
        timeout_keep_alive=600,
        timeout_graceful_shutdown=1,
    )
    return uvicorn.Server(settings)


@dataclass(frozen=True, slots=True)
class Running:
    """A sandbox that listens at `url`."""

    url: str
    app: Sandbox


@contextmanager
def running(config: SandboxConfig | None = None, port: int = 0, clock: Clock | None = None) -> Iterator[Running]:
    """A sandbox in a thread of this process, on loopback; port 0 takes a free one. Raises PortInUse."""
    app = create_app(config, clock)
    listener = _listen(port)
    server = _server(app)
    thread = threading.Thread(target=server.run, args=([listener],), name="sandbox", daemon=True)
    thread.start()
    try:
        yield Running(f"http://{HOST}:{listener.getsockname()[1]}", app)
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()
