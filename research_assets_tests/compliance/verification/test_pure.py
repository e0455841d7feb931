"""The pure parts of verification: result files, verdicts, and the number of tasks."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.compliance.verification import due
from research_assets.compliance.verification.guards import judge
from research_assets.compliance.verification.results import UnreadableResult, parse_result
from research_assets.tiktok.compliance import MAX_IDS

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
