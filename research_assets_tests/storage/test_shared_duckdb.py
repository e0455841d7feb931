"""Shared databases: one per process and settings, replaced after an error that made it unusable."""

import os
from contextlib import closing
from multiprocessing import get_context

import duckdb
import pytest

from research_assets.storage import shared_duckdb
from research_assets.storage.shared_duckdb import connect_shared


def test_connections_share_a_database_and_no_temporary_table() -> None:
    with closing(connect_shared()) as first, closing(connect_shared()) as second:
        first.execute("CREATE TEMP TABLE own (id INT)")
        assert first.execute("SELECT current_setting('TimeZone')").fetchall() == [("UTC",)]
        with pytest.raises(duckdb.CatalogException):
            second.execute("SELECT * FROM own")


def test_unusable_database_is_replaced() -> None:
    connect_shared().close()
    shared_duckdb._database(os.getpid(), ()).close()
    with closing(connect_shared()) as connection:
        assert connection.execute("SELECT 42").fetchall() == [(42,)]


def _query() -> None:
    with closing(connect_shared()) as connection:
        assert connection.execute("SELECT count(*) FROM range(1000000)").fetchall() == [(1_000_000,)]


@pytest.mark.integration
def test_forked_child_opens_its_own_database() -> None:
    _query()
    child = get_context("fork").Process(target=_query)
    child.start()
    child.join(60)
    assert child.exitcode == 0
