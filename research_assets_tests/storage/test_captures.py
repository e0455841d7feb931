"""Journals and sealed captures: appended events are read back, damage raises an error, and one writer is admitted."""

import threading
import zlib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.storage import captures
from research_assets.storage.captures import (
    DamagedCapture,
    Journal,
    JournalBusy,
    JournalWriteError,
    Manifest,
    list_open_journals,
    list_sealed,
    read_events,
)
from research_assets.storage.checked_lines import is_torn

NOON = datetime(2026, 2, 3, 12, tzinfo=UTC)
PAGE = b'{"data":{"videos":[{"id":7503867840092128259}]}}'


def create_journal(
    root: Path, entity: str = "videos", study: str = "s", days: int = 1, now: datetime = NOON
) -> Journal:
    first = date(2026, 2, 1)
    return Journal.create(
        root,
        entity=entity,
        study=study,
        first=first,
        last=first + timedelta(days=days - 1),
        now=now,
        origin="sandbox",
        header={"query": {"and": []}, "fields": frozenset({"id"})},
    )


def test_sealed_capture_has_the_events_and_totals_of_its_journal(tmp_path: Path) -> None:
    journal = create_journal(tmp_path, days=31)
    assert journal.path.parent == tmp_path / "videos/study=s/2026-02-01..2026-03-03"
    assert list_open_journals(tmp_path, "videos", "s") == [journal.path]
    journal.append("page", {"observed_at": NOON, "rows": 3, "unknown": frozenset({"b", "a"}), "extra": 1}, PAGE)
    journal.append("fail", {"status": 504}, b"<html>gateway</html>")
    journal.append("page", {"observed_at": NOON + timedelta(minutes=1), "rows": 2}, PAGE)
    journal.append("unit", {"unit": "2026-02-01", "state": "complete", "partition": date(2026, 2, 1)})
    events = list(journal.events())
    path = journal.seal()
    assert list(read_events(path)) == events
    assert path == journal.seal(), "sealing again changes nothing"
    assert [event["event"] for event in events] == ["start", "page", "fail", "page", "unit"]
    assert events[0]["header"] == {"query": {"and": []}, "fields": ["id"]}
    assert [event["seq"] for event in events if event["event"] == "page"] == [0, 1]
    assert events[2]["answer"] == "<html>gateway</html>"
    (manifest,) = list_sealed(tmp_path)
    assert manifest == Manifest.load(path)
    manifest.verify()
    assert (manifest.pages, manifest.rows, manifest.requests, manifest.units) == (2, 5, 3, 1)
    assert (manifest.first, manifest.last, manifest.study, manifest.origin) == (
        "2026-02-01",
        "2026-03-03",
        "s",
        "sandbox",
    )
    assert (manifest.unknown, manifest.nul) == (("a", "b"), False)
    assert (manifest.first_at, manifest.last_at) == ("2026-02-03T12:00:00+00:00", "2026-02-03T12:01:00+00:00")
    assert manifest.size == path.stat().st_size
    assert list_open_journals(tmp_path, "videos", "s") == []
    assert {p.name for p in path.parent.iterdir()} == {path.name, f"{manifest.capture}.json"}


def test_journal_keeps_a_response_byte_for_byte_before_the_checksum(tmp_path: Path) -> None:
    journal = create_journal(tmp_path)
    answer = '{"data": {"id":7503867840092128259, "n":1.10, "t":"\\u0000 \\"é🍅"}}'.encode()
    journal.append("page", {"unit": 'with "answer": inside'}, answer)
    line = journal.path.read_bytes().splitlines()[-1]
    assert line[:-20].endswith(b',"answer":' + answer)
    assert orjson.loads(line)["crc32"] == f"{zlib.crc32(line[:-20]):08x}"
    assert Manifest.load(journal.seal()).nul


def test_journal_writes_a_response_of_several_lines_as_one_line(tmp_path: Path) -> None:
    journal = create_journal(tmp_path)
    journal.append("page", {}, b'{\r\n "data": {\n"a": 1}\n}')
    assert [event.get("answer") for event in journal.events()] == [None, {"data": {"a": 1}}]
    assert journal.path.read_bytes().count(b"\n") == 2


@given(st.binary(max_size=40))
def test_journal_stores_any_body_of_a_failed_request(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    with create_journal(tmp_path_factory.mktemp("fail")) as journal:
        journal.append("fail", {"status": 502}, body)
        *_, fail = journal.events()
    try:
        assert fail["answer"] == orjson.loads(body)
    except orjson.JSONDecodeError:
        assert fail["answer"] == body.decode("utf-8", "replace")


def test_captures_are_readable_by_the_owner_only(tmp_path: Path) -> None:
    path = create_journal(tmp_path / "captures").seal()
    assert {p.stat().st_mode & 0o777 for p in path.parent.iterdir()} == {0o600}
    assert {p.stat().st_mode & 0o777 for p in (tmp_path / "captures").rglob("*") if p.is_dir()} == {0o700}


def test_captures_are_listed_by_entity_and_study_oldest_first(tmp_path: Path) -> None:
    for hours, (entity, study) in enumerate([("videos", "b"), ("users", "a"), ("videos", "a"), ("videos", "a")]):
        create_journal(tmp_path, entity, study, now=NOON - timedelta(hours=hours)).seal()
    create_journal(tmp_path, "videos", "a").close()
    found = [(manifest.entity, manifest.study) for manifest in list_sealed(tmp_path)]
    assert found == [("users", "a"), ("videos", "a"), ("videos", "a"), ("videos", "b")]
    ids = [manifest.capture for manifest in list_sealed(tmp_path, entity="videos", study="a")]
    assert ids == sorted(ids)
    assert len(ids) == 2
    assert list(list_sealed(tmp_path / "nowhere")) == []
    assert list_open_journals(tmp_path, "videos", "b") == []
    assert len(list_open_journals(tmp_path, "videos", "a")) == 1


def test_journal_has_one_writer_at_a_time(tmp_path: Path) -> None:
    journal = create_journal(tmp_path)
    with pytest.raises(JournalBusy, match="Nothing was changed"):
        Journal.resume(journal.path)
    journal.close()
    with pytest.raises(JournalWriteError, match="closed"):
        journal.append("page", {}, PAGE)
    resumed = Journal.resume(journal.path)
    resumed.append("page", {}, PAGE)
    assert resumed.pages == 1


def test_journal_that_is_published_while_journals_are_listed_is_not_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (create_journal(tmp_path, now=NOON + timedelta(hours=hour)) for hour in range(2))

    def publish_second(line: bytes) -> bool:
        second.seal()
        return is_torn(line)

    # Another collection of the same study publishes a capture between the listing of the folder and the reading.
    monkeypatch.setattr(captures, "is_torn", publish_second)
    assert list_open_journals(tmp_path, "videos", "s") == [first.path]
    assert not second.path.exists()
    with pytest.raises(JournalBusy, match="has sealed the journal"):
        Journal.resume(second.path)


def test_threads_append_complete_lines(tmp_path: Path) -> None:
    journal = create_journal(tmp_path)

    def append() -> None:
        for _ in range(25):
            journal.append("page", {"rows": 1}, PAGE)

    threads = [threading.Thread(target=append) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [event["seq"] for event in read_events(journal.seal()) if event["event"] == "page"] == list(range(100))


def test_append_rejects_reserved_field_names(tmp_path: Path) -> None:
    with create_journal(tmp_path) as journal:
        for fields in ({"answer": 1}, {"event": "x"}, {"crc32": ""}):
            with pytest.raises(ValueError, match="not fields"):
                journal.append("page", fields)


def _pages(journal: Journal) -> list[int]:
    return [event["seq"] for event in journal.events() if event["event"] == "page"]


@pytest.mark.parametrize("damage", [b"\0", b"7", b"\n"], ids=["zero", "digit", "line feed"])
def test_damaged_line_is_named_and_the_journal_resumes_before_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    journal = create_journal(tmp_path)
    for _ in range(4):
        journal.append("page", {"rows": 10}, PAGE)
    journal.close()
    lines = journal.path.read_bytes().splitlines(keepends=True)
    for number in range(1, 5):  # the last line as well: it is complete, so it was acknowledged
        at = sum(map(len, lines[:number])) + 50
        content = b"".join(lines)
        damaged = content[:at] + damage + content[at + 1 :]
        journal.path.write_bytes(damaged)
        with pytest.raises(DamagedCapture, match="checksum") as error:
            list(read_events(journal.path))
        assert error.value.line == number + 1
        assert journal.path.read_bytes() == damaged
        caplog.clear()
        with Journal.resume(journal.path) as resumed:
            assert _pages(resumed) == list(range(number - 1))
        assert f"line {number + 1}." in caplog.text
        assert f"({4 - number} with {10 * (4 - number)} rows)" in caplog.text
        assert f"{journal.path.name}.line{number + 1}.damaged" in caplog.text
        kept = journal.path.with_name(f"{journal.path.name}.line{number + 1}.damaged")
        assert kept.read_bytes() == damaged
        assert kept.stat().st_mode & 0o777 == 0o600
        assert journal.path.read_bytes() == b"".join(lines[:number])


def test_last_line_without_its_line_feed_was_not_acknowledged(tmp_path: Path) -> None:
    journal = create_journal(tmp_path)
    journal.append("page", {}, PAGE)
    journal.append("page", {}, PAGE)
    journal.close()
    content = journal.path.read_bytes()
    journal.path.write_bytes(content[:-1])
    assert _pages(Journal.resume(journal.path)) == [0]
    # A changed line feed is no cut: the rest of the line is there, with its checksum.
    journal.path.write_bytes(content[:-1] + b"\x1a")
    with pytest.raises(DamagedCapture, match="line 3"):
        list(read_events(journal.path))


def test_journal_with_a_damaged_first_line_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    journal = create_journal(tmp_path)
    journal.append("page", {"rows": 7}, PAGE)
    journal.close()
    damaged = journal.path.read_bytes().replace(b'"study":"s"', b'"study":"t"')
    journal.path.write_bytes(damaged)
    with pytest.raises(DamagedCapture, match="checksum"):
        Journal.resume(journal.path)
    assert list_open_journals(tmp_path, "videos", "s") == []
    assert "1 with 7 rows" in caplog.text
    assert [path.read_bytes() for path in tmp_path.glob("*/*/*/*.damaged")] == [damaged]
    assert list_open_journals(tmp_path, "videos", "s") == []


def test_line_that_changes_before_the_seal_is_not_sealed(tmp_path: Path) -> None:
    journal = create_journal(tmp_path)
    journal.append("page", {"rows": 7}, PAGE)
    content = journal.path.read_bytes()
    journal.path.write_bytes(content.replace(b'"rows":7', b'"rows":5'))
    with pytest.raises(DamagedCapture, match=r"line 2.*resumes before"):
        journal.seal()
    assert list(list_sealed(tmp_path)) == []
    journal.close()
    assert Journal.resume(journal.path).pages == 0


def _corrupt(content: bytes) -> dict[str, bytes]:
    return {"cut": content[: len(content) // 2], "flipped": content[:30] + b"\xff" + content[31:], "empty": b""}


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty"])
def test_damaged_sealed_capture_is_never_read_as_a_shorter_one(tmp_path: Path, damage: str) -> None:
    journal = create_journal(tmp_path)
    for number in range(200):
        journal.append("page", {"rows": number}, PAGE)
    path = journal.seal()
    path.write_bytes(_corrupt(path.read_bytes())[damage])
    with pytest.raises(DamagedCapture, match="Restore"):
        list(read_events(path))
    with pytest.raises(DamagedCapture, match="Restore"):
        Manifest.load(path).verify()


def test_damaged_or_lost_manifest_is_rebuilt_from_an_intact_capture(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = create_journal(tmp_path)
    for number in range(3):
        fields = {"rows": number, "observed_at": NOON + timedelta(minutes=number), "unknown": ["x"], "rejected": [{}]}
        journal.append("page", fields, PAGE)
    journal.append("unit", {"unit": "2026-02-01"})
    path = journal.seal()
    manifest = path.with_name(path.name.replace(".jsonl.zst", ".json"))
    published, content = Manifest.load(path), manifest.read_bytes()
    for changed in (b"{", b"[]", b"{}", content.replace(b'"pages": 3', b'"pages": 0'), content[:-2] + b"\n", None):
        manifest.unlink() if changed is None else manifest.write_bytes(changed)
        caplog.clear()
        assert Manifest.load(path) == published
        assert f"The manifest {manifest} is" in caplog.text
        assert manifest.read_bytes() == content


def test_damaged_capture_gets_no_new_manifest(tmp_path: Path) -> None:
    journal = create_journal(tmp_path)
    for number in range(200):
        journal.append("page", {"rows": number}, PAGE)
    path = journal.seal()
    manifest = path.with_name(path.name.replace(".jsonl.zst", ".json"))
    manifest.write_bytes(b"{}")
    content = path.read_bytes()
    for damaged in _corrupt(content).values():
        path.write_bytes(damaged)
        with pytest.raises(DamagedCapture, match="Restore"):
            Manifest.load(path)
        assert manifest.read_bytes() == b"{}"


def test_capture_without_manifest_beside_its_journal_was_never_published(tmp_path: Path) -> None:
    journal = create_journal(tmp_path)
    content = journal.path.read_bytes()
    path = journal.seal()
    path.with_name(path.name.replace(".jsonl.zst", ".json")).unlink()
    journal.path.write_bytes(content)
    with pytest.raises(DamagedCapture, match="never published"):
        Manifest.load(path)
