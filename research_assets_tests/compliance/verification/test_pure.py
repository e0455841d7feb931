"""The pure parts of verification: result files, verdicts, and the number of tasks."""

import csv
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.collect.id_lists.batches import batch_ids
from research_assets.collect.id_lists.reader import ListedVideo
from research_assets.compliance.verification import due
from research_assets.compliance.verification.answers import Answer, Answers, append_answers
from research_assets.compliance.verification.guards import judge, judge_lookups
from research_assets.compliance.verification.results import UnreadableResult, parse_result
from research_assets.tiktok.compliance import MAX_IDS
from research_assets.tiktok.requests import MAX_COUNT, MAX_WINDOW_DAYS

IDS = st.lists(st.integers(1, 2**63 - 1), max_size=30, unique=True)


@given(
    st.lists(st.integers(1, 2**63 - 1), min_size=1, max_size=30, unique=True),
    st.sampled_from(["\n", "\r\n", ",", ", ", ";", "\t", " ", "|", ",\n", '","']),
    st.sampled_from([("", ""), ("", "\n"), ("[", "]"), ("\ufeff", "")]),
)
def test_result_file_may_use_any_separator(ids: list[int], separator: str, around: tuple[str, str]) -> None:
    body = f"{around[0]}{separator.join(map(str, ids))}{around[1]}".encode()
    assert parse_result(body) == tuple(ids)


@given(IDS, st.sampled_from(["id", "video_id", "comment_id", "ids", "Video_ID", "valid_ids"]), st.booleans())
def test_result_file_may_be_csv_with_a_header(ids: list[int], header: str, is_quoted: bool) -> None:
    text = io.StringIO()
    writer = csv.writer(text, quoting=csv.QUOTE_ALL if is_quoted else csv.QUOTE_MINIMAL)
    writer.writerows([[header], *([one] for one in ids)])
    assert parse_result(text.getvalue().encode("utf-8-sig")) == tuple(ids)


@given(IDS, st.booleans(), st.sampled_from(["list", "ids", "data", "envelope", "objects"]))
def test_result_file_may_be_json(ids: list[int], as_text: bool, form: str) -> None:
    values = [str(one) if as_text else one for one in ids]
    body = {
        "list": values,
        "ids": {"ids": values},
        "data": {"data": values, "error": {"code": "ok"}},
        "envelope": {"data": {"valid_ids": values, "task_id": 7}, "error": {"code": "ok"}},
        "objects": [{"id": one} for one in values],
    }[form]
    assert parse_result(json.dumps(body).encode()) == tuple(ids)


@pytest.mark.parametrize(
    "body",
    ["{0}\n{1}", '["{0}",\n "{1}"]', '[{{"video_id": {0}}}, {{"id": "{1}"}}]', '{{"video_ids": [{0}, {1}]}}'],
)
def test_result_file_may_be_mixed(body: str) -> None:
    assert parse_result(body.format(7, 8).encode()) == (7, 8)


@pytest.mark.parametrize("body", ["", "\n", "id\n", "[]", '{"data": {"ids": []}, "error": {"code": "ok"}}'])
def test_result_file_may_be_empty(body: str) -> None:
    assert parse_result(body.encode()) == ()


def test_repeated_ids_count_once() -> None:
    assert parse_result(b"7\n8\n7\n") == (7, 8)


@pytest.mark.parametrize(
    "body",
    [
        b"<html><h1>504</h1></html>",
        b"7503867840092128259\nid unknown\n",
        b"7.5e18\n",
        b"[7.5e18]",
        b"[true]",
        b"-7\n",
        b"id,status\n7,valid\n8,invalid\n",
        b'[{"id":7,"valid":false}]',
        b'{"valid":[7],"invalid":[8]}',
        b'{"data":{"task_id":7},"error":{"code":"ok"}}',
        b'{"1":2}',
        b"[[7]]",
        b"[" * 200_000,
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b'{"ids":[7]',
        b"\xff\xfe7",
        "\u0663\n".encode(),
        b"7503867840092128259\n" + b"9" * 19,
        b"0",
        b"[7,8",
        b"[7,null]",
        b"id,status\n7,gone\n",
        b"id\n7,8\n",
        b"id\n7\nid\n",
        b'{"data":{"ids":[7]},"error":{"code":"internal_error"}}',
    ],
    ids=lambda body: f"{body[:20]!r} of {len(body)} bytes",
)
def test_other_files_are_unreadable(body: bytes) -> None:
    with pytest.raises(UnreadableResult):
        parse_result(body)


@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_unreadable(body: bytes) -> None:
    try:
        ids = parse_result(body)
    except UnreadableResult:
        return
    assert all(str(one).encode() in body for one in ids)


SENT = range(1, 101)
CANARIES = [range(1, 11), range(91, 101)]


@pytest.mark.parametrize(
    ("returned", "reason"),
    [
        (range(1, 101), ""),
        ([*range(1, 50), *range(59, 101)], ""),
        ([*range(1, 50), *range(61, 101)], "share"),
        ([], "empty"),
        (range(1, 80), "short"),
        (range(20, 101), "short"),
        ([*range(1, 101), 999], "foreign"),
        ([*range(1, 101), 500], ""),
    ],
)
def test_judge_accepts_or_holds_back(returned: list[int], reason: str) -> None:
    verdict = judge(SENT, CANARIES, returned, {500}, 10)
    assert verdict.reason == reason
    if reason != "foreign":
        assert verdict.missing == set(SENT) - set(returned)
        assert verdict.verified == set(SENT) & set(returned)
    else:
        assert not verdict.missing


@given(st.sets(st.integers(1, 50)), st.sets(st.integers(1, 60)), st.floats(0, 100))
def test_accepted_answer_withdraws_at_most_the_share_of_what_was_sent(
    sent: set[int], returned: set[int], share: float
) -> None:
    verdict = judge(sent, [], returned, (), share)
    assert verdict.missing <= sent
    if not verdict.reason:
        assert len(verdict.missing) * 100 <= share * len(sent)
        assert returned <= sent


@given(st.integers(0, 60_000), st.integers(0, 60_000))
def test_number_of_tasks_is_the_least_possible(n_due: int, n_others: int) -> None:
    held = range(1, n_due + n_others + 1)
    ids = list(held[: due.ids_to_send(n_due)])
    tasks = due.split_into_tasks(ids, list(held[-due.MAX_CANARIES :]) if ids else [])
    assert len(tasks) == -(-n_due // due.CAPACITY)
    assert set(held[:n_due]) <= {one for sent, _ in tasks for one in sent}
    for sent, n_canaries in tasks:
        assert len(sent) == len(set(sent)) <= MAX_IDS
        groups = due.canary_groups(sent, n_canaries)
        assert {one for group in groups for one in group} == set(held[-n_canaries:])


START, TODAY = date(2026, 1, 1), date(2026, 6, 1)
COUNTS = st.dictionaries(st.integers(0, 120), st.integers(1, 130), max_size=8)


def videos(counts: dict[int, int], salt: int = 0) -> list[ListedVideo]:
    """Return videos of some days (days after `START`), uploaded on the day of their publication."""
    found = []
    for offset, number in counts.items():
        noon = int(datetime(2026, 1, 1, 12, tzinfo=UTC).timestamp()) + offset * 86400
        found += [ListedVideo((noon << 32) + n * 2 + salt, START + timedelta(days=offset)) for n in range(number)]
    return found


def fewest_requests(listed: list[ListedVideo]) -> int:
    """Return the fewest groups of successive videos that a request takes, among all ways to divide them."""
    days = sorted(one.day for one in listed if one.day is not None)
    best = [0]
    for end in range(1, len(days) + 1):
        starts = range(max(0, end - MAX_COUNT), end)
        best.append(1 + min(best[i] for i in starts if (days[end - 1] - days[i]).days < MAX_WINDOW_DAYS))
    return best[-1]


@given(COUNTS, COUNTS)
def test_lookups_need_the_fewest_requests_even_when_filled(due_counts: dict[int, int], others: dict[int, int]) -> None:
    listed, candidates = videos(due_counts), videos(others, salt=1)
    batches = batch_ids(listed, TODAY)
    assert len(batches) == fewest_requests(listed)
    windows = [due.search_window(batch, MAX_WINDOW_DAYS, TODAY) for batch in batches]
    inside = [[one for one in candidates if one.day and low <= one.day <= high] for low, high in windows]
    fills = due.fill_batches(batches, inside)
    assert len(fills) == len(set(fills))
    by_id = {one.id: one for one in candidates}
    filled = [*listed, *(by_id[one] for one in fills)]
    assert fewest_requests(filled) == len(batches)
    assert len(batch_ids(filled, TODAY)) == len(batches)
    # No free place is left while a video of the window needs verification.
    for batch, here in zip(batches, inside, strict=True):
        assert len(batch.ids) + sum(one.id in fills for one in here) >= min(MAX_COUNT, len(batch.ids) + len(here))


@given(COUNTS, COUNTS, st.integers(0, 20))
def test_controls_take_free_places_inside_the_window(own: dict[int, int], others: dict[int, int], number: int) -> None:
    for batch in batch_ids(videos(own), TODAY):
        window = due.search_window(batch, MAX_WINDOW_DAYS, TODAY)
        full, controls = due.add_controls(batch, window, videos(others, salt=1), number)
        assert full.ids == (*batch.ids, *controls)
        assert len(full.ids) <= MAX_COUNT
        assert len(controls) <= number
        assert window[0] <= full.first <= full.last <= window[1]
        days = {one.id: one.day for one in videos(others, salt=1) if one.day is not None}
        assert all(full.first <= days[one] <= full.last for one in controls)


@given(st.lists(st.integers(0, 40), max_size=20), st.integers(1, 60))
def test_lookups_are_spread_so_that_no_item_is_late(falls_due: list[int], per_day: int) -> None:
    """Plan every day; an item of day n must be looked up by the plan before n days have passed."""
    waiting = dict(enumerate(falls_due))
    is_possible = all(sum(falls_due[: day + 1]) <= per_day * max(1, day) for day in range(len(falls_due)))
    for today in range(len(falls_due) + 2):
        number = due.items_to_look_up({max(0, day - today): count for day, count in waiting.items()}, per_day)
        assert number <= per_day
        for day in sorted(waiting):
            taken = min(waiting[day], number)
            waiting[day] -= taken
            number -= taken
        assert not number
        late = sum(count for day, count in waiting.items() if day <= today + 1)
        assert not (is_possible and late)


def test_lookups_wait_until_they_are_needed() -> None:
    assert due.items_to_look_up({}, 250) == 0
    assert due.items_to_look_up({3: 500}, 250) == 0
    assert due.items_to_look_up({2: 500}, 250) == 250
    assert due.items_to_look_up({2: 300}, 250) == 50
    assert due.items_to_look_up({0: 900}, 250) == 250


@pytest.mark.parametrize(
    ("returned", "controls", "others", "is_proven"),
    [
        ([1, 2], [1, 2], [], True),
        ([1], [1, 2], [], True),
        ([1], [1, 2, 3], [], False),
        # With controls, other ids prove nothing: a page that was cut off may have them.
        ([5, 6], [1, 2], [5, 6], False),
        ([5, 6], [], [5, 6, 7], True),
        ([5], [], [5, 6, 7], False),
        ([], [], [], False),
    ],
)
def test_controls_prove_that_the_search_works(
    returned: list[int], controls: list[int], others: list[int], is_proven: bool
) -> None:
    assert due.is_proven(returned, controls, others) is is_proven


@pytest.mark.parametrize(
    ("missing", "still_open", "withdrawn", "stored", "reason"),
    [
        (0, 0, 0, 0, ""),
        (10, 0, 0, 100, ""),
        (11, 0, 0, 100, "share"),
        (1, 0, 9, 91, ""),
        (2, 0, 9, 91, "share"),
        (0, 3, 99, 1, "unproven"),
        (5, 1, 0, 100, "unproven"),
        (1, 0, 0, 1, "share"),
    ],
)
def test_judge_lookups(missing: int, still_open: int, withdrawn: int, stored: int, reason: str) -> None:
    assert judge_lookups(missing, still_open, withdrawn, stored, 10) == reason


FIRST = datetime(2026, 6, 1, 23, 59, tzinfo=UTC)


def test_item_is_missing_after_proven_answers_of_two_days() -> None:
    answers = Answers()
    for sign, at in (("-", FIRST), ("-", FIRST + timedelta(seconds=30)), ("?", FIRST + timedelta(days=1))):
        answers.add(Answer("7", at, sign))  # type: ignore[arg-type]
        assert answers.missing_since("7") is None
        assert answers.open_items(["7"]) == ["7"]
        assert answers.due_items(["7"], at.date()) == []
    answers.add(Answer("7", FIRST + timedelta(days=2), "-"))
    assert answers.missing_since("7") == FIRST
    answers.add(Answer("7", FIRST + timedelta(days=3), "+"))
    assert answers.missing_since("7") is None
    assert answers.returned_at("7") == FIRST + timedelta(days=3)


@given(st.integers(0, 200))
def test_answer_that_was_cut_off_is_left_out(tmp_path_factory: pytest.TempPathFactory, size: int) -> None:
    path: Path = tmp_path_factory.mktemp("answers") / "task.result.txt"
    written = [Answer("7503867840092128259", FIRST, "+"), Answer("an,odd.name", FIRST, "-"), Answer("8", FIRST, "?")]
    append_answers(path, written)
    content = path.read_bytes()
    path.write_bytes(content[:size])
    append_answers(path, [Answer("9", FIRST, "-")])
    found = [answer for answers in Answers.load(path).by_item.values() for answer in answers]
    complete = content[:size].count(b"\n") + (size < len(content) and content[size : size + 1] == b"\n")
    assert found == [*written[:complete], Answer("9", FIRST, "-")]
