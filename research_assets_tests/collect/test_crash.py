"""Kill tests: a collection that is killed at any point resumes after its last durable page, without loss or duplicates.

The tests use real processes, killed by SIGKILL, and a real server. The kill comes before the server sends a page, or
right after the page is durable. At most one request is repeated.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from itertools import count
from threading import Event
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.clock import week_of
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import VARIABLES, Settings
from research_assets.storage.captures import list_open_journals
from research_assets.storage.locks import PartitionBusy
from research_assets.study.spec import StudySpec
from research_assets_tests.collect.harness import QUERY, START, days, study
from research_assets_tests.collect.process_harness import (
    KILL_POINTS,
    CollectorProcess,
    ServedHarness,
    kill_at_page,
    serve_harness,
    wait_for_exit,
)
from research_assets_tests.profiles import sized


@dataclass(frozen=True)
class Case:
    """A collection of N consecutive pages, and the key of its rows."""

    entity: str
    pages: int
    knobs: dict[str, Any]
    page_size: int
    partitions: Callable[[ServedHarness], tuple[date, ...]]
    key: str = "id"
    spec: StudySpec = field(default_factory=study)
    before: tuple[str, ...] = ()

    def process(self, harness: ServedHarness, **kill_at: Any) -> CollectorProcess:
        return CollectorProcess(
            harness.settings, self.entity, self.partitions(harness), harness.clock.moment, self.spec, **kill_at
        )


CASES = {
    "videos": Case("videos", 13, {"fixed_volume": 260}, 40, lambda _: days(2)),
    "comments": Case(
        "comments", 15, {"fixed_volume": 2, "fixed_comments": 40}, 10, lambda _: days(1), before=("videos",)
    ),
    "followers": Case(
        "followers",
        11,
        {},
        50,
        lambda harness: (week_of(harness.clock.now().date()),),
        "username",
        study(panel=("sandbox_popular",)),
    ),
}
NUMBERS = count()


@pytest.fixture(scope="module")
def base(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Case, ServedHarness]]:
    """A case, a server for it, and a data root with the entities that it depends on."""
    case = CASES[request.param]
    settings = Settings.from_env(
        {
            VARIABLES["root"].name: str(tmp_path_factory.mktemp(case.entity) / "base"),
            VARIABLES["api_url"].name: "http://127.0.0.1:9",
            VARIABLES["client_key"].name: "sandbox-key",
            VARIABLES["client_secret"].name: "sandbox-secret",
        }
    )
    small = replace(settings, page_size=case.page_size, concurrency=1)
    with serve_harness(small, SandboxConfig(**case.knobs)) as harness:
        for process in (
            CollectorProcess(harness.settings, name, days(1), harness.clock.moment, case.spec) for name in case.before
        ):
            assert not process.end()
        yield case, harness


@pytest.fixture
def case_harness(base: tuple[Case, ServedHarness]) -> tuple[Case, ServedHarness]:
    """The case on a separate data root for each test."""
    case, harness = base
    return case, harness.copy(str(next(NUMBERS)))


def stored_keys(harness: ServedHarness, case: Case) -> list[Any]:
    """Return the key of every row in the raw table."""
    return sorted(row[0] for row in harness.sql(f"SELECT {case.key} FROM {{{case.entity}}}"))


def expected_keys(harness: ServedHarness, case: Case) -> list[Any]:
    """Return the keys of all rows that the API returns."""
    ground_truth = harness.app.ground_truth
    if case.entity == "followers":
        return sorted(ground_truth.user("sandbox_popular")["followers"])
    hits = ground_truth.videos(
        {group: list(conditions) for group, conditions in QUERY.items()}, START, case.partitions(harness)[-1]
    )
    videos = [video for day in hits.values() for video in day.deliverable]
    if case.entity == "videos":
        return sorted(videos)
    top = [comment for video in videos for comment in ground_truth.comments(video)]
    return sorted(top + [reply for comment in top for reply in ground_truth.replies(comment)])


async def assert_completes(harness: ServedHarness, case: Case, *, repeated: int, failed: int = 0) -> None:
    """Assert that a second run completes without lost or duplicate rows, with `repeated` requests and no open journal.

    `failed` of these were answered with an error, so that the coverage counts them too.
    """
    finished, pause = await harness.collect(case.entity, case.partitions(harness), case.spec)
    assert pause is None
    assert {result.state for result in finished.values()} == {"complete"}
    assert stored_keys(harness, case) == expected_keys(harness, case)
    assert harness.requests_sent == case.pages + repeated
    assert sum(result.requests for result in finished.values()) == pytest.approx(case.pages + failed)
    assert list_open_journals(harness.settings.captures, case.entity, case.spec.name) == []
    assert harness.sql("SELECT count(*) FROM {coverage} WHERE state <> 'complete'") == [(0,)]


EACH_PAGE = [(name, page) for name, case in CASES.items() for page in range(1, case.pages + 1)]


@pytest.mark.parametrize(("base", "page"), EACH_PAGE, indirect=["base"])
async def test_run_killed_before_a_page_arrives_repeats_one_request(
    case_harness: tuple[Case, ServedHarness], page: int
) -> None:
    case, harness = case_harness
    kill_at_page(harness, page, case.process(harness))
    await assert_completes(harness, case, repeated=1)


@pytest.mark.parametrize(
    ("base", "page"), [each for each in EACH_PAGE if each[1] in (1, 2, CASES[each[0]].pages)], indirect=["base"]
)
async def test_run_killed_after_a_durable_page_repeats_no_request(
    case_harness: tuple[Case, ServedHarness], page: int
) -> None:
    case, harness = case_harness
    assert case.process(harness, pages=page).end()
    await assert_completes(harness, case, repeated=0)


@pytest.mark.parametrize("base", CASES, indirect=True)
async def test_run_killed_after_every_page_repeats_no_request(case_harness: tuple[Case, ServedHarness]) -> None:
    case, harness = case_harness
    for _ in range(case.pages):
        assert case.process(harness, pages=1).end()
    assert not case.process(harness, pages=1).end()
    await assert_completes(harness, case, repeated=0)


@pytest.mark.parametrize("place", KILL_POINTS)
@pytest.mark.parametrize("base", CASES, indirect=True)
async def test_run_killed_while_publishing_repeats_no_request(
    case_harness: tuple[Case, ServedHarness], place: str
) -> None:
    case, harness = case_harness
    assert case.process(harness, place=place).end()
    await assert_completes(harness, case, repeated=0)


@pytest.mark.parametrize("base", ["videos"], indirect=True)
async def test_run_killed_at_any_step_of_publishing_repeats_no_request(base: tuple[Case, ServedHarness]) -> None:
    case, harness = base
    short = replace(case, pages=7, partitions=lambda _: days(1))
    for step in count(0, 6):
        copy = harness.copy(str(next(NUMBERS)))
        if not short.process(copy, step=step).end():
            break
        await assert_completes(copy, short, repeated=0)
    assert step > 20


@pytest.fixture(scope="module")
def torn_journal(base: tuple[Case, ServedHarness]) -> tuple[Case, ServedHarness]:
    """A data root whose journal has all but the last pages."""
    case, harness = base
    root = harness.copy(str(next(NUMBERS)))
    assert case.process(root, pages=case.pages - 2).end()
    return case, root


@pytest.mark.parametrize("base", CASES, indirect=True)
@sized(8, 100)
@given(data=st.data())
async def test_journal_cut_at_any_byte_repeats_only_the_pages_that_were_cut(
    torn_journal: tuple[Case, ServedHarness], data: st.DataObject
) -> None:
    case, root = torn_journal
    harness = root.copy(str(next(NUMBERS)), forget=False)
    (journal,) = list_open_journals(harness.settings.captures, case.entity, case.spec.name)
    content = journal.read_bytes()
    at = data.draw(st.integers(0, len(content)))
    journal.write_bytes(content[:at])
    complete_lines = content[: content.rfind(b"\n", 0, at) + 1].splitlines()
    kept = sum(line.startswith(b'{"event":"page"') for line in complete_lines)
    before = harness.requests_sent
    finished, pause = await harness.collect(case.entity, case.partitions(harness), case.spec)
    assert pause is None
    assert {result.state for result in finished.values()} == {"complete"}
    assert stored_keys(harness, case) == expected_keys(harness, case)
    assert harness.requests_sent - before == case.pages - kept


@pytest.mark.parametrize("base", CASES, indirect=True)
async def test_second_process_raises_partition_busy_at_once(
    case_harness: tuple[Case, ServedHarness],
) -> None:
    case, harness = case_harness
    reached, may_continue = Event(), Event()

    def wait() -> None:
        reached.set()
        may_continue.wait()

    harness.at_request(3, wait)
    child = case.process(harness).begin()
    assert reached.wait(60)
    try:
        with pytest.raises(PartitionBusy, match="another process"):
            await harness.collect(case.entity, case.partitions(harness), case.spec)
    finally:
        may_continue.set()
    assert not wait_for_exit(child)
    assert harness.requests_sent == case.pages
    assert stored_keys(harness, case) == expected_keys(harness, case)


@pytest.mark.parametrize("base", ["comments"], indirect=True)
@pytest.mark.parametrize("page", [1, 4, 9])
async def test_killed_run_repeats_at_most_the_requests_in_flight(
    case_harness: tuple[Case, ServedHarness], page: int
) -> None:
    case, harness = case_harness
    harness.settings = replace(harness.settings, concurrency=4)
    kill_at_page(harness, page, case.process(harness))
    finished, _ = await harness.collect(case.entity, case.partitions(harness), case.spec)
    assert {result.state for result in finished.values()} == {"complete"}
    assert stored_keys(harness, case) == expected_keys(harness, case)
    assert harness.requests_sent <= case.pages + 4


@pytest.mark.parametrize("base", CASES, indirect=True)
async def test_run_completes_after_its_token_is_revoked(case_harness: tuple[Case, ServedHarness]) -> None:
    case, harness = case_harness
    harness.at_request(4, harness.app.tokens.revoke_all)
    await assert_completes(harness, case, repeated=1, failed=1)
    assert harness.app.request_log.outcomes["access_token_invalid"] == 1


async def test_short_lived_tokens_are_renewed_in_time(settings: Settings) -> None:
    with serve_harness(replace(settings, page_size=40), SandboxConfig(fixed_volume=260, token_lifetime=1)) as harness:
        await assert_completes(harness, CASES["videos"], repeated=0)
        assert harness.app.tokens.issued > 1


@pytest.mark.parametrize("pause_length", [timedelta(hours=15), timedelta(days=4)])
async def test_search_that_expired_overnight_resumes_near_its_position(
    settings: Settings, pause_length: timedelta
) -> None:
    config = SandboxConfig(fixed_volume=95, research_cap=120, search_lifetime=3600)
    with serve_harness(replace(settings, page_size=10), config) as harness:
        finished, pause = await harness.collect("videos", days(14))
        assert {result.state for result in finished.values()} == {"complete"}, "the days that the search has passed"
        assert pause is not None
        harness.clock.moment += pause_length
        finished, pause = await harness.collect("videos", days(14))
        assert pause is None
        assert {result.state for result in finished.values()} == {"complete"}
        assert len(finished) == 14
        assert sorted(set(harness.ids())) == expected_keys(
            harness, replace(CASES["videos"], partitions=lambda _: days(14))
        )
        # 133 pages, those of the 2.5 days in which upload and publication overlap, and the rejected search id.
        assert harness.app.request_log.outcomes["ok"] - harness.app.request_log.requests["oauth/token"] <= 133 + 1 + 26
        assert harness.app.request_log.outcomes["invalid_params"] <= 2
