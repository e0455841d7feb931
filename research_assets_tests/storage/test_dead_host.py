"""A host that vanishes from the network without ending its connections: the server ends its session."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from research_assets.storage.lock_database import LockDatabase
from research_assets.storage.lock_errors import LockTaken
from research_assets_tests.postgres import PostgresServer, running_postgres

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        os.getuid() != 0 or shutil.which("ip") is None, reason="A host with a network of its own needs root and ip"
    ),
]

NAMESPACE, LINK, SERVER, HOST = "research-lab-2", "research-lab-1", "10.213.77.1", "10.213.77.2"

HOLD = """
import signal, sys
from research_assets.storage import lock_database
lock_database.DEAD_HOST_SECONDS = 6
lock_database.LockDatabase(sys.argv[1]).try_lock(["day"])
print("locked", flush=True)
signal.pause()
"""
"""Program of the host. The time until its session ends is shortened; in the docs it is 60 seconds."""


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@contextmanager
def network() -> Iterator[None]:
    """Connect a network namespace with this one."""
    ip("netns", "add", NAMESPACE)
    try:
        ip("link", "add", LINK, "type", "veth", "peer", "name", "eth0", "netns", NAMESPACE)
        ip("address", "add", f"{SERVER}/24", "dev", LINK)
        ip("link", "set", LINK, "up")
        ip("-n", NAMESPACE, "address", "add", f"{HOST}/24", "dev", "eth0")
        ip("-n", NAMESPACE, "link", "set", "eth0", "up")
        yield
    finally:
        ip("netns", "delete", NAMESPACE)


@contextmanager
def server_in_the_network() -> Iterator[PostgresServer]:
    with running_postgres() as server:
        server.stop()
        with (server.folder / "data/pg_hba.conf").open("a") as rules:
            rules.write(f"host all all {HOST}/32 trust\n")
        listening = replace(server, settings=(*server.settings, f"listen_addresses=127.0.0.1,{SERVER}"))
        listening.start()
        yield listening


def test_server_ends_the_session_of_a_host_that_does_not_answer() -> None:
    with network(), server_in_the_network() as server:
        address = f"postgresql://lab@{SERVER}:{server.port}/lab"
        command = ["ip", "netns", "exec", NAMESPACE, sys.executable, "-c", HOLD, address]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as host:
            assert host.stdout is not None
            assert host.stdout.readline() == b"locked\n"
            ip("link", "set", LINK, "down")
            database = LockDatabase(server.url)
            with pytest.raises(LockTaken):
                database.try_lock(["day"])
            database.lock("day")
            assert host.poll() is None, "the process still runs and believes that it has the lock"
            host.kill()
