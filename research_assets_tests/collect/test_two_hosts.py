"""Collectors on two hosts with one data folder, one quota and one PostgreSQL. One host dies with all its processes."""

import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest

from research_assets.quota.ledger import open_ledger
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.storage.captures import list_open_journals, list_sealed, read_events
from research_assets.storage.file_locks import find_database
from research_assets.storage.locks import lock_partitions
from research_assets_tests.collect.harness import days, study
from research_assets_tests.collect.host_process import Host, can_name_hosts, kill, release
from research_assets_tests.collect.process_harness import PATIENCE, ServedHarness, serve_harness
from research_assets_tests.postgres import PostgresServer

PAGES_PER_DAY = 10


@dataclass
class Lab:
    """The hosts lab-1 and lab-2, which see the data folder at different paths."""

    harness: ServedHarness
    hosts: dict[str, "subprocess.Popen[bytes]"]

    def start(self, n_days: int, n_collectors: int) -> None:
        """Start both hosts with collectors of the same days; those of lab-2 begin when lab-1 has sent a request."""
        settings, moment = self.harness.settings, self.harness.clock.moment
        for name in ("lab-1", "lab-2"):
            mounted = settings.root.with_name(name)
            mounted.symlink_to(settings.root)
            host = Host(name, replace(settings, root=mounted), days(n_days), study(), moment, n_collectors)
            self.hosts[name] = host.start()
        self.harness.at_request(1, lambda: release(self.hosts["lab-2"]))
        release(self.hosts["lab-1"])

    def begun_by(self, host: str) -> set[str]:
        """Return the days with a journal that a host has locked, which the messages about locked partitions name."""
        (database, folder) = find_database(self.harness.settings.state / "locks") or (None, "")
        assert database is not None
        prefix = f"{folder}/garden.videos/"
        holders = database.holders(prefix)
        locked = {name.removeprefix(prefix) for name, holder in holders.items() if f" on {host} " in holder}
        journals = list_open_journals(self.harness.settings.captures, "videos", "garden")
        return locked & {path.parent.name for path in journals}

    @property
    def pages(self) -> Counter[str]:
        """The number of stored pages by day, in sealed captures and in open journals."""
        captures = self.harness.settings.captures
        paths = [
            *(manifest.path for manifest in list_sealed(captures, entity="videos", study="garden")),
            *list_open_journals(captures, "videos", "garden"),
        ]
        return Counter(path.parent.name for path in paths for event in read_events(path) if event["event"] == "page")


@contextmanager
def lab(settings: Settings, postgres: PostgresServer, name: str, cap: int) -> Iterator[Lab]:
    """Yield a lab with a database of its own, on an API with a number of requests a day."""
    database = f"lab_{name}"
    postgres.run("createdb", "-h", "127.0.0.1", "-p", str(postgres.port), "-U", "lab", database)
    shared = replace(
        settings,
        ledger_url=postgres.url.rpartition("/")[0] + f"/{database}",
        research_cap=cap,
        page_size=20,
        concurrency=1,
        rate_limit=1e6,
    )
    with serve_harness(shared, SandboxConfig(fixed_volume=20 * PAGES_PER_DAY, research_cap=cap)) as harness:
        built = Lab(harness, {})
        try:
            yield built
        finally:
            for host in built.hosts.values():
                if host.poll() is None:
                    kill(host)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "cap", "n_days", "n_collectors"),
    [("small", 100, 12, 2), pytest.param("large", 1000, 110, 4, marks=pytest.mark.long)],
    ids=["small", "large"],
)
def test_host_takes_over_the_days_of_a_dead_host_and_both_send_exactly_the_quota(
    settings: Settings, postgres: PostgresServer, name: str, cap: int, n_days: int, n_collectors: int
) -> None:
    with lab(settings, postgres, name, cap) as two_hosts:
        harness, begun = two_hosts.harness, set[str]()

        def kill_first_host() -> None:
            begun.update(two_hosts.begun_by("lab-1"))
            if begun:
                kill(two_hosts.hosts["lab-1"])
            else:
                # Its collectors are between two days.
                harness.at_request(1, kill_first_host)

        harness.at_request(cap // 3, kill_first_host)
        two_hosts.start(n_days, n_collectors)
        assert two_hosts.hosts["lab-2"].wait(PATIENCE * 4) == 0

        ledger = open_ledger(harness.settings, harness.server_clock)
        assert ledger.pool_state("research").used == cap
        ledger.verify()
        # A killed collector may have reserved a request that it did not send.
        assert cap - n_collectors <= harness.requests_sent <= cap
        assert harness.app.request_log.outcomes["daily_quota_limit_exceeded"] == 0

        pages = two_hosts.pages
        assert max(pages.values()) == PAGES_PER_DAY
        # Only the pages that were on their way to a killed collector were requested again.
        assert harness.requests_sent - n_collectors <= sum(pages.values()) <= harness.requests_sent
        ids = harness.ids()
        assert len(ids) == len(set(ids))
        complete = harness.sql("SELECT partition, count(*) FROM {coverage} WHERE state = 'complete' GROUP BY ALL")
        assert {number for _, number in complete} == {1}, "no day was collected twice"
        assert len(complete) >= cap // PAGES_PER_DAY - 2 * n_collectors
        if can_name_hosts():
            assert {sender.host for sender in ledger.used_by_sender()} == {"lab-1", "lab-2"}
            assert begun
            assert {pages[day] for day in begun} == {PAGES_PER_DAY}, "the other host completed what this one had begun"
        with lock_partitions(harness.settings.state, "garden", "videos", days(n_days)):
            pass
