"""The server's clock: learned from several answers, within a limit, and never from a single header."""

import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.clock import ClocksDiffer, ServerClock, SystemClock, next_midnight, parse_http_date
from research_assets.quota.ledger import Ledger, QuotaExhausted
from research_assets_tests.conftest import FakeClock
from research_assets_tests.profiles import sized

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOW = datetime(2026, 3, 2, 9, 0, 0, 250_000, tzinfo=UTC)
LIMIT = timedelta(hours=15)
WRONG = {
    "3 h behind": "Mon, 02 Mar 2026 06:00:00 GMT",
    "3 d ahead": "Thu, 05 Mar 2026 09:00:00 GMT",
    "5 s ahead": "Mon, 02 Mar 2026 09:00:05 GMT",
    "1970": "Thu, 01 Jan 1970 00:00:00 GMT",
    "year 9999": "Fri, 31 Dec 9999 23:59:59 GMT",
    "year 0": "Sat, 01 Jan 0000 00:00:00 GMT",
    "no such day": "Mon, 31 Feb 2026 09:00:00 GMT",
    "leap second": "Mon, 02 Mar 2026 23:59:60 GMT",
    "no zone": "Mon, 02 Mar 2026 06:00:00",
    "other zone": "Mon, 02 Mar 2026 09:00:00 -0300",
    "unknown zone": "Mon, 02 Mar 2026 06:00:00 -0000",
    "two headers": "Mon, 02 Mar 2026 09:00:00 GMT, Mon, 02 Mar 2026 12:00:00 GMT",
    "digits that are no ASCII": "Mon, \u0660\u0662 Mar 2026 06:00:00 GMT",
    "negative": "-1",
    "garbage": "\xff\x00 yesterday " * 1000,
    "empty": "",
    "absent": None,
}
PARSEABLE = {"3 h behind", "3 d ahead", "5 s ahead", "1970", "year 9999"}


def header(at: datetime) -> str:
    return format_datetime(at.replace(microsecond=0), usegmt=True)


def answer(server: ServerClock, clock: FakeClock, date_header: str | None = "", seconds: float = 0.2) -> None:
    """Let the server answer after some seconds: with the right header, or with another one."""
    sent = clock.monotonic()
    clock.advance(seconds=seconds / 2)
    right = header(clock.moment)
    clock.advance(seconds=seconds / 2)
    server.observe(right if date_header == "" else date_header, sent, clock.monotonic())


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("place", [0, 1, 2, 3, 8, 12])
def test_single_wrong_header_has_no_effect(kind: str, place: int) -> None:
    clock = FakeClock(NOW)
    server = ServerClock(clock, limit=LIMIT)
    for i in range(20):
        answer(server, clock, WRONG[kind] or None if i == place else "")
        assert server.now() == clock.now(), i
        server.check()


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_only_complete_http_dates_are_parsed(text: str | None) -> None:
    is_date = text in {WRONG[kind] for kind in PARSEABLE}
    assert (parse_http_date(text or "") is not None) is is_date


@pytest.mark.parametrize("hours", [-14, -3, 14])
def test_time_that_three_answers_agree_on_replaces_a_wrong_local_clock(
    hours: int, caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock(NOW, error=timedelta(hours=hours))
    server = ServerClock(clock, limit=LIMIT)
    for _ in range(2):
        answer(server, clock)
        assert server.needs_answers
        assert server.now() == clock.now(), "two answers are not enough"
    answer(server, clock)
    assert not server.needs_answers
    assert abs(server.now() - clock.moment) < timedelta(seconds=1)
    (record,) = caplog.records
    assert f"{abs(hours)}:00:00 {'ahead of' if hours > 0 else 'behind'} the API" in record.getMessage()
    assert "timedatectl" in record.getMessage()
    assert server.summary.startswith(f"{abs(hours)}:00:00 ")


@pytest.mark.parametrize("error", [timedelta(hours=16), timedelta(days=-1), timedelta(days=365), NOW - EPOCH])
def test_difference_above_the_limit_stops_and_names_both_times(error: timedelta) -> None:
    clock = FakeClock(NOW, error=-error)
    server = ServerClock(clock, limit=LIMIT)
    for _ in range(3):
        server.check()
        answer(server, clock)
    with pytest.raises(ClocksDiffer, match="2026-03-02 09:00 UTC") as caught:
        server.check()
    assert f"{clock.now():%Y-%m-%d %H:%M}" in str(caught.value)
    assert "RESEARCH_MAX_CLOCK_OFFSET" in str(caught.value)
    assert server.now() == clock.now()


def test_limit_of_zero_ignores_every_header_and_none_accepts_any() -> None:
    clock = FakeClock(NOW, error=timedelta(days=-4000))
    ignoring, accepting = ServerClock(clock, limit=timedelta(0)), ServerClock(clock)
    for _ in range(5):
        answer(ignoring, clock)
        answer(accepting, clock)
        ignoring.check()
        assert not ignoring.needs_answers
    assert ignoring.now() == clock.now()
    assert abs(accepting.now() - clock.moment) < timedelta(seconds=1)


def test_learned_time_ignores_a_jump_and_the_setting_of_the_local_clock(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock(NOW)
    server = ServerClock(clock, limit=LIMIT)
    for _ in range(3):
        answer(server, clock)
    for error in (timedelta(minutes=-7), timedelta(hours=5), timedelta(days=-2)):
        clock.error = error
        for _ in range(12):
            answer(server, clock, header(clock.moment + timedelta(hours=2)))
            assert server.now() == clock.moment
    (record,) = caplog.records
    assert "Ignored" in record.getMessage()
    assert "11:00:0" in record.getMessage()


def test_jump_that_the_local_clock_confirms_is_followed() -> None:
    @dataclass
    class Suspended(FakeClock):
        """A machine whose monotonic clock stops for some hours."""

        stopped: float = field(default=0.0)

        def monotonic(self) -> float:
            return super().monotonic() - self.stopped

    clock = Suspended()
    FakeClock.__init__(clock, NOW)
    server = ServerClock(clock, limit=LIMIT)
    for _ in range(3):
        answer(server, clock)
    clock.advance(hours=8)
    clock.stopped = 8 * 3600
    for _ in range(9):
        answer(server, clock)
    assert server.now() == clock.moment


def test_headers_that_contradict_each_other_leave_the_local_clock(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock(NOW)
    server = ServerClock(clock, limit=LIMIT)
    for hours in range(1, 7):
        answer(server, clock, header(clock.moment + timedelta(hours=hours)))
        assert server.now() == clock.now()
    assert [record.getMessage().split(".")[0] for record in caplog.records] == [
        "The Date headers of the API contradict each other"
    ]


def test_missing_header_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    clock = FakeClock(NOW)
    server = ServerClock(clock, limit=LIMIT)
    for _ in range(5):
        answer(server, clock, None)
        assert server.needs_answers
    (record,) = caplog.records
    assert "no Date header" in record.getMessage()
    assert record.levelno == logging.WARNING
    assert "no usable time from the API" in server.summary


def test_slow_answers_are_too_imprecise() -> None:
    clock = FakeClock(NOW, error=timedelta(hours=-3))
    server = ServerClock(clock, limit=LIMIT)
    for _ in range(5):
        answer(server, clock, seconds=240)
    assert server.now() == clock.now()
    for seconds in (25, 3, 20):
        answer(server, clock, seconds=seconds)
    assert abs(server.now() - clock.moment) < timedelta(seconds=2.5), "the fastest answer is the most precise"


def test_system_clock_is_monotonic() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    assert 0 <= clock.monotonic() - before < 60
    assert clock.now().tzinfo is UTC


CAP = 4
LIES = st.one_of(
    st.sampled_from([*WRONG.values()]),
    st.sampled_from([-3, -1, 2, 72]).map(lambda hours: timedelta(hours=hours)),
    st.just(timedelta(minutes=47)),
)
ERRORS = st.sampled_from([0, -7, 305, -305, 890]).map(lambda minutes: timedelta(minutes=minutes))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("truth"), st.none()),
        st.tuples(st.just("lie"), LIES),
        st.tuples(st.just("set the local clock"), ERRORS),
        st.tuples(st.just("wait"), st.sampled_from([1.0, 59.0, 3600.0, 7 * 3600.0])),
        st.tuples(st.just("reserve"), st.integers(1, 6)),
    ),
    max_size=60,
)
STARTS = (
    datetime(2026, 3, 2, 9, tzinfo=UTC),
    datetime(2026, 12, 31, 23, 59, 40, tzinfo=UTC),
    datetime(2028, 2, 28, 23, 0, tzinfo=UTC),
    datetime(2026, 3, 29, 0, 59, tzinfo=UTC),
)
EDGE = timedelta(seconds=3)
"""Around midnight a header of whole seconds cannot tell the day."""


@given(start=st.sampled_from(STARTS), error=ERRORS, first_lie=st.tuples(st.integers(0, 4), LIES), steps=STEPS)
@sized(150, 3000)
def test_no_day_of_the_server_exceeds_the_cap_and_nothing_stalls(
    tmp_path_factory: pytest.TempPathFactory,
    start: datetime,
    error: timedelta,
    first_lie: tuple[int, str | timedelta | None],
    steps: list[tuple[str, object]],
) -> None:
    """Once the time is learned, any sequence of headers and of settings of the local clock has no effect."""
    clock = FakeClock(start, error=error)
    server = ServerClock(clock, limit=LIMIT)

    def lie(value: object) -> None:
        text = header(clock.moment + value) if isinstance(value, timedelta) else value
        answer(server, clock, None if text in ("", None) else str(text))

    for i in range(5):
        if i == first_lie[0]:
            lie(first_lie[1])
        else:
            answer(server, clock)
    ledger = Ledger(tmp_path_factory.mktemp("ledger") / "quota.sqlite", {"research": CAP}, server)
    used: dict[str, int] = {}
    for kind, value in steps:
        match kind, value:
            case "truth", _:
                answer(server, clock)
            case "lie", _:
                lie(value)
            case "set the local clock", timedelta():
                clock.error = value
            case "wait", float():
                clock.advance(seconds=value)
            case "reserve", int():
                until_midnight = next_midnight(clock.moment) - clock.moment
                if min(until_midnight, timedelta(days=1) - until_midnight) <= EDGE:
                    clock.advance(seconds=2 * EDGE.total_seconds())
                today = clock.moment.date().isoformat()
                for _ in range(value):
                    try:
                        ledger.reserve("research", study="s", entity="videos", unit="u", endpoint="video_query")
                    except QuotaExhausted as refusal:
                        stall = refusal.retry_at - clock.moment
                        assert (used[today], stall <= until_midnight + EDGE) == (CAP, True)
                    else:
                        used[today] = used.get(today, 0) + 1
        server.check()
        assert abs(server.now() - clock.moment) <= EDGE
    booked: dict[str, int] = {}
    for row in ledger.iter_requests():
        booked[row["day"].isoformat()] = booked.get(row["day"].isoformat(), 0) + 1
    ledger.close()
    assert booked == used
    assert all(n <= CAP for n in booked.values())
