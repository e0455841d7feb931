"""The UTC day of every value that a notebook may pass as a day."""

from datetime import date, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.warehouse.reader import WarehouseReadError, parse_day

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("value", "day"),
    [
        (None, None),
        (date(2026, 2, 1), date(2026, 2, 1)),
        (datetime(2026, 2, 1, 23, 59), date(2026, 2, 1)),  # noqa: DTZ001
        (datetime(2026, 2, 1, 0, 30, tzinfo=BERLIN), date(2026, 1, 31)),
        (datetime(2026, 2, 1, 23, tzinfo=timezone(timedelta(hours=-5))), date(2026, 2, 2)),
        (pd.Timestamp("2026-02-01 00:30", tz="Europe/Berlin"), date(2026, 1, 31)),
        (pd.Timestamp("2026-02-01 00:30"), date(2026, 2, 1)),
        (pd.Timestamp("2026-02-01T23:59:59.123456789Z"), date(2026, 2, 1)),
        (np.datetime64("2026-02-01"), date(2026, 2, 1)),
        (np.datetime64("2026-02-01T23:59:59.999999999"), date(2026, 2, 1)),
        (np.datetime64("2026-02-01T23"), date(2026, 2, 1)),
        ("2026-02-01", date(2026, 2, 1)),
        ("2026-02-01T00:30:00+01:00", date(2026, 1, 31)),
        ("2026-02-01T23:30:00Z", date(2026, 2, 1)),
    ],
)
def test_day_is_the_utc_day(value: Any, day: date | None) -> None:
    found = parse_day(value)
    assert found == day
    assert type(found) is type(day)


@pytest.mark.parametrize(
    "value",
    [
        *("February", "2026-02-30", "", 20260201, 2026.0, True, np.int64(20260201), np.datetime64("2026-02")),
        *(pd.NaT, np.datetime64("NaT"), pd.Period("2026-02-01"), [date(2026, 2, 1)], np.array(["2026-02-01"])),
        datetime.min.replace(tzinfo=timezone(timedelta(hours=5))),
    ],
)
def test_value_that_is_no_day_is_an_error(value: Any) -> None:
    with pytest.raises(WarehouseReadError, match="is not a calendar day"):
        parse_day(value)


@given(st.datetimes(datetime(1970, 1, 2), datetime(2260, 1, 1), timezones=st.timezones()))  # noqa: DTZ001
def test_equal_times_have_the_same_day(time: datetime) -> None:
    day = parse_day(time)
    assert day == parse_day(time.isoformat()) == parse_day(pd.Timestamp(time.astimezone(BERLIN)))
    utc = np.datetime64(time.astimezone(ZoneInfo("UTC")).replace(tzinfo=None))
    assert parse_day(utc) == day
