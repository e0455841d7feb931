"""A pseudonymous study stores the rows of its twin with handles, but no handle, and resumes and joins like it.

Not here: Dagster, the marts and the commands (see end_to_end/test_pseudonymous_study.py), single responses (see
tiktok/test_pseudonyms.py).
"""

import asyncio
import logging
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from research_assets.clock import week_of
from research_assets.collect.id_lists.reader import read_id_list
from research_assets.collect.id_lists.rehydrate import publish_rehydrated, rehydrate_comments
from research_assets.collect.id_lists.run import IdListTask, fetch_id_list
from research_assets.compliance.forget import preview_removal, remove_folder, remove_items
from research_assets.planning.expected_units import write_expected_units, write_request_log
from research_assets.report.methods import requested_fields_table
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import VARIABLES, Settings
from research_assets.storage.captures import list_open_journals, list_sealed_files, read_events
from research_assets.storage.pseudonym_keys import PseudonymKeyError, pseudonymous_studies
from research_assets.storage.replay import replay
from research_assets.study.loader import find_studies
from research_assets.study.spec import StudySpec
from research_assets.tiktok.names import fold_handle
from research_assets.tiktok.pseudonyms import DROPPED, PATTERN, Pseudonyms, UnknownPseudonym
from research_assets.warehouse.verify_files import verify_files
from research_assets_tests.collect.harness import CollectorHarness, TamperingTransport, days, error_response
from research_assets_tests.collect.process_harness import CollectorProcess, kill_at_page, serve_harness
from research_assets_tests.compliance.data_folder import contents, find
from research_assets_tests.study.study_files import write

KEY, OTHER_KEY = "1f" * 32, "2e" * 32
PANEL = ("sandbox_beet", "sandbox_balkon", "sandbox_popular", "sandbox_likes", "sandbox_private", "sandbox_missing")
LISTS = ("users", "followers", "following", "liked_videos", "reposted_videos", "pinned_videos")
STUDY = f"""
name: garden
start: 2026-02-01
end: 2026-02-10
query:
  and:
    - {{field: region_code, in: [DE, AT]}}
    - {{field: hashtag_name, eq: gardening}}
comments: {{videos: top, n: 3}}
users: panel
panel: {{usernames: [{", ".join(PANEL)}]}}
"""
ACCOUNTS = """
name: accounts
start: 2026-02-01
end: 2026-02-10
query:
  and:
    - {field: username, in: ["@Sandbox_Beet", sandbox_balkon, sandbox_popular]}
comments: none
users: none
"""
PSEUDONYMOUS = "pseudonymous: true\n"
MENTIONED = "stranger.77"
PSEUDONYM = Pseudonyms(bytes.fromhex(KEY)).of
PEOPLE = PSEUDONYM("nobody.listed")


def settings_of(root: Path, **variables: str) -> Settings:
    values = {
        "root": str(root),
        "api_url": "http://127.0.0.1:9",
        "client_key": "sandbox-key",
        "client_secret": "sandbox-secret",
        "rate_limit": "10000",
        "page_size": "20",
    }
    return Settings.from_env({VARIABLES[name].name: value for name, value in (values | variables).items()})


def studies(folder: Path, settings: Settings, *texts: str) -> dict[str, StudySpec]:
    """Return the studies of some study files, as every command loads them."""
    for number, text in enumerate(texts):
        write(folder / str(number), text)
    return {one.spec.name: one.spec for one in find_studies(settings, defs=folder, today=date(2026, 6, 1))}


def pseudonymous(folder: Path, settings: Settings, *texts: str) -> dict[str, StudySpec]:
    return studies(folder, settings, *(text + PSEUDONYMOUS for text in texts or (STUDY, ACCOUNTS)))


def mention(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
    """Add a mention and a bare handle to texts, the handle to unknown fields, and an element without a structure."""
    body = orjson.loads(response.content)
    name = _asked(request) or "sandbox_beet"
    if response.status_code != 200:
        return None
    for records in [[body["data"]], *(value for value in body["data"].values() if isinstance(value, list))]:
        for record in [one for one in records if isinstance(one, dict)]:
            author = record.get("username") or name
            for text in ("video_description", "text", "voice_to_text", "bio_description"):
                if isinstance(record.get(text), str):
                    record[text] += f" by {author} with @{MENTIONED} https://www.tiktok.com/@{author}"
            record["author_unique_id"] = author
        records.append(f"{name} is no record")
    body["data"]["asked_for"] = name
    return httpx.Response(response.status_code, json=body, headers={"date": response.headers["date"]})


def _asked(request: httpx.Request) -> str | None:
    body = orjson.loads(request.content)
    conditions = [one for group in body.get("query", {}).values() for one in group]
    listed = [one["field_values"][0] for one in conditions if one["field_name"] == "username"]
    name = body.get("username") or next(iter(listed), None)
    assert name is None or not re.fullmatch(PATTERN, name), "a pseudonym was sent to the API"
    return name


async def collect_all(harness: CollectorHarness, specs: dict[str, StudySpec]) -> None:
    transport = TamperingTransport(harness, mention)
    week = week_of(harness.clock.now().date())
    for spec in specs.values():
        await harness.collect("videos", days(3), spec, transport=transport)
        if spec.panel:
            await harness.collect("comments", days(3), spec, transport=transport)
            for entity in LISTS:
                await harness.collect(entity, [week], spec, transport=transport)
    write_expected_units(harness.settings.raw, specs.values(), harness.clock.now())
    write_request_log(harness.settings.raw, harness.ledger)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> CollectorHarness:
    """The twins with handles."""
    folder = tmp_path_factory.mktemp("plain")
    harness = CollectorHarness(settings_of(folder / "data"), SandboxConfig())
    asyncio.run(collect_all(harness, studies(folder / "studies", harness.settings, STUDY, ACCOUNTS)))
    return harness


@pytest.fixture(scope="module")
def secret(tmp_path_factory: pytest.TempPathFactory) -> CollectorHarness:
    """The pseudonymous studies. No test changes their data folder."""
    folder = tmp_path_factory.mktemp("secret")
    harness = CollectorHarness(settings_of(folder / "data", pseudonym_key=KEY), SandboxConfig())
    asyncio.run(collect_all(harness, pseudonymous(folder / "studies", harness.settings)))
    harness.ledger.close()
    return harness


@pytest.fixture
def copied(secret: CollectorHarness, tmp_path: Path) -> CollectorHarness:
    """A copy of the pseudonymous studies."""
    shutil.copytree(secret.settings.root, tmp_path / "data")
    return CollectorHarness(replace(secret.settings, root=tmp_path / "data"), SandboxConfig())


def known_handles(harness: CollectorHarness) -> set[str]:
    """Return all handles that a collection with handles has stored."""
    names = {
        name for (name,) in harness.sql(" UNION ".join(f"SELECT username FROM {{{one}}}" for one in ("videos", *LISTS)))
    }
    names |= {name for (name,) in harness.sql("SELECT unnest(video_mention_list) FROM {videos}")}
    return {name for name in names if name and re.fullmatch(r"[\w.]+", name)} | set(PANEL) | {MENTIONED}


def found_handles(root: Path, handles: set[str]) -> list[str]:
    """Return the files of a folder that contain a handle, in any spelling, as a word of its own or within another."""
    distinctive = {name.casefold() for name in handles if re.search(r"[\d_.]", name)}
    short = sorted(name for name in distinctive if name in set(PANEL) | {MENTIONED})
    found = []
    for path, content in contents(root):
        text = content.decode("utf-8", "replace").casefold()
        words = {word.strip("._") for word in re.findall(r"[\w.]+", text)}
        names = {name for name in distinctive if name.strip("._") in words} | {name for name in short if name in text}
        found += [f"{path.relative_to(root)}: {name}" for name in sorted(names)]
    return found


def test_no_file_of_the_data_folder_contains_a_handle(plain: CollectorHarness, copied: CollectorHarness) -> None:
    handles = known_handles(plain)
    assert len(handles) > 500
    assert len({one.rpartition(": ")[2] for one in found_handles(plain.settings.root, handles)}) > 500
    assert found_handles(copied.settings.root, handles) == []
    for text in (KEY, "Beet 🌱", "Popular 🌻", '"bio_description":"'):
        assert find(copied.settings.root, (text,)) == []
    assert not verify_files(copied.settings).findings
    # The rows can be rebuilt from the captures without the key.
    replay(copied.settings.captures, copied.settings.raw)
    assert found_handles(copied.settings.root, handles) == []


def _rows(harness: CollectorHarness, sql: str, change: Any) -> list[tuple[Any, ...]]:
    return sorted((tuple(map(change, row)) for row in harness.sql(sql)), key=repr)


def _pseudonymized(value: Any) -> Any:
    return (
        PSEUDONYM(value) if isinstance(value, str) else [*map(PSEUDONYM, value)] if isinstance(value, list) else value
    )


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT id, username, video_mention_list, view_count FROM {videos} ORDER BY ALL",
        "SELECT id, video_id, asked_video_id, parent_comment_id, like_count FROM {comments}",
        "SELECT asked_username, username, follower_count, is_verified FROM {users}",
        "SELECT asked_username, username, position FROM {followers}",
        "SELECT asked_username, username, position FROM {following}",
        "SELECT asked_username, id, username FROM {liked_videos}",
        "SELECT asked_username, id, username FROM {pinned_videos}",
        "SELECT v.id, u.asked_username FROM {videos} v JOIN {users} u ON v.username = u.asked_username",
        "SELECT f.asked_username, g.asked_username, username FROM {followers} f JOIN {following} g USING (username)",
        "SELECT v.username, c.id FROM {videos} v JOIN {comments} c ON c.video_id = v.id",
    ],
)
def test_rows_and_joins_equal_those_of_the_twin(plain: CollectorHarness, secret: CollectorHarness, sql: str) -> None:
    expected = _rows(plain, sql, _pseudonymized)
    assert expected
    assert _rows(secret, sql, lambda value: value) == expected


def test_requests_units_and_states_equal_those_of_the_twin(plain: CollectorHarness, secret: CollectorHarness) -> None:
    assert plain.app.request_log.requests == secret.app.request_log.requests

    def units(harness: CollectorHarness, change: Any) -> list[Any]:
        sql = "SELECT entity, unit_kind, unit, state, asked, offered, kept FROM {coverage}"
        return sorted(
            (entity, kind, change(unit) if kind == "account" else unit, *rest)
            for entity, kind, unit, *rest in harness.sql(sql)
        )

    assert units(secret, str) == units(plain, lambda unit: ",".join(PSEUDONYM(name) for name in unit.split(",")))
    expected = "SELECT entity, partition, unit FROM {expected_units} WHERE unit_kind = 'account'"
    assert sorted(secret.sql(expected)) == sorted((one, at, PSEUDONYM(name)) for one, at, name in plain.sql(expected))


def test_requests_name_the_fields_that_the_report_shows(
    secret: CollectorHarness, tmp_path_factory: pytest.TempPathFactory
) -> None:
    spec = pseudonymous(tmp_path_factory.mktemp("studies"), secret.settings)["garden"]
    shown = {str(row[0]): set(str(row[1]).split(", ")) for row in requested_fields_table(spec).rows}
    for entity in ("videos", "comments", "users", "pinned_videos"):
        paths = list_sealed_files(secret.settings.captures, entity=entity, study="garden")
        events = [event for path in paths for event in read_events(path) if event["event"] == "page"]
        assert {frozenset(event["request"]["fields"]) for event in events} == {frozenset(shown[entity])}
    assert not shown["users"] & DROPPED


def test_texts_keep_everything_but_identifiers(plain: CollectorHarness, secret: CollectorHarness) -> None:
    sql = "SELECT id, username, video_description FROM {videos} ORDER BY ALL"
    before = {id_: (name, text) for id_, name, text in plain.sql(sql)}
    for id_, name, text in secret.sql(sql):
        handle, original = before[id_]
        expected = original.replace(f"https://www.tiktok.com/@{handle}", "[link]").replace(
            f" by {handle} ", f" by {name} "
        )
        expected = re.sub(r"@([\w.]*\w)", lambda found: f"@{PSEUDONYM(found[1])}", expected)
        assert text == expected


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Any]:
    with serve_harness(settings_of(tmp_path / "data", pseudonym_key=KEY), SandboxConfig()) as harness:
        yield harness


@pytest.mark.parametrize("entity", ["videos", "followers"])
def test_killed_collection_resumes_without_a_handle_and_without_a_repeated_request(
    served: Any, tmp_path: Path, entity: str
) -> None:
    """SIGKILL over HTTP: after a durable page, and before a page is sent."""
    # One list, or one search, whose pages follow each other.
    text = STUDY.replace(", ".join(PANEL), "sandbox_popular") if entity == "followers" else ACCOUNTS
    served.settings = replace(served.settings, page_size=3 if entity == "videos" else 40)
    [loaded] = pseudonymous(tmp_path / "studies", served.settings, text).values()
    [with_handles] = studies(tmp_path / "own", settings_of(tmp_path / "none"), text).values()
    spec = replace(with_handles, pseudonymous=True)
    partitions = days(8) if entity == "videos" else (week_of(served.clock.now().date()),)
    whole = served.copy("whole")
    assert not CollectorProcess(whole.settings, entity, partitions, whole.clock.moment, spec).end()
    expected = dict(whole.app.request_log.requests)
    handles = {*PANEL, *(account.username for account in map(served.app.world.accounts.__getitem__, range(6000)))}
    for pages, repeated in ((2, 0), (None, 1)):
        other = served.copy(f"killed_{pages}")
        process = CollectorProcess(other.settings, entity, partitions, other.clock.moment, spec)
        if pages:
            assert replace(process, pages=pages).end()
        else:
            kill_at_page(other, 3, process)
        assert list_open_journals(other.settings.captures, entity, spec.name)
        assert found_handles(other.settings.root, handles) == []
        assert not process.end()
        assert found_handles(other.settings.root, handles) == []
        sent = dict(other.app.request_log.requests)
        assert {name: sent[name] - number for name, number in expected.items() if name != "oauth/token"} == {
            name: repeated for name in expected if name != "oauth/token"
        }
        key = "id" if entity == "videos" else "username"
        sql = f"SELECT {key}, username FROM {{{entity}}} ORDER BY ALL"
        assert other.sql(sql) == whole.sql(sql) != []
    assert loaded.panel == tuple(map(PSEUDONYM, with_handles.panel))


@pytest.mark.parametrize("kind", ["json", "html", "user", "redirect"])
async def test_errors_that_echo_the_handle_are_stored_and_logged_without_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    caplog.set_level(logging.DEBUG)
    harness = CollectorHarness(settings_of(tmp_path / "data", pseudonym_key=KEY), SandboxConfig())
    specs = pseudonymous(tmp_path / "studies", harness.settings)

    def fail(request: httpx.Request, response: httpx.Response) -> httpx.Response:
        name = _asked(request) or "sandbox_beet"
        text = f"internal error for {name.upper()}, @{MENTIONED} and {'sandbox_balkon'}"
        date_header = {"date": response.headers["date"]}
        match kind:
            case "json":
                return error_response(response, 500, "internal_error", text)
            case "user":
                return error_response(response, 400, "invalid_params", f"cannot find the user: {name}")
            case "html":
                return httpx.Response(502, html=f"<p>{text}</p>", headers=date_header)
        location = {"location": f"https://www.tiktok.com/@{name}"}
        return httpx.Response(302, json={"error": {"message": text}}, headers=date_header | location)

    transport = TamperingTransport(harness, fail)
    week = week_of(harness.clock.now().date())
    shown = []
    for spec, entity, partitions in (
        (specs["garden"], "users", [week]),
        (specs["garden"], "followers", [week]),
        (specs["accounts"], "videos", days(2)),
    ):
        try:
            finished, pause = await harness.collect(entity, partitions, spec, transport=transport)
            shown.append(f"{finished} {pause}")
        except Exception as error:
            shown.append(f"{error!r} {error} {error.__cause__!r} {error.__context__!r}")
    write_expected_units(harness.settings.raw, specs.values(), harness.clock.now())
    write_request_log(harness.settings.raw, harness.ledger)
    handles = {*PANEL, MENTIONED}
    assert found_handles(harness.settings.root, handles) == []
    logged = "\n".join([*caplog.messages, *shown]).casefold()
    assert harness.requests_sent
    assert PSEUDONYM("sandbox_beet") in {unit for (unit,) in harness.sql("SELECT unit FROM {requests}")}
    assert [name for name in handles if name in logged] == []


async def test_another_key_and_collecting_with_handles_are_refused(tmp_path: Path) -> None:
    harness = CollectorHarness(settings_of(tmp_path / "data", pseudonym_key=KEY), SandboxConfig())
    specs = pseudonymous(tmp_path / "studies", harness.settings)
    assert pseudonymous_studies(harness.settings) == {}
    await harness.collect("users", [week_of(harness.clock.now().date())], specs["garden"])
    assert list(pseudonymous_studies(harness.settings)) == ["garden"]
    sent = harness.requests_sent
    wrong = replace(harness.settings, pseudonym_key=OTHER_KEY)
    # `accounts` has no data yet, so it may use any key.
    with pytest.raises(ValueError, match="garden was collected with another key") as raised:
        pseudonymous(tmp_path / "studies", wrong)
    assert (KEY in str(raised.value), OTHER_KEY in str(raised.value)) == (False, False)
    with pytest.raises(ValueError, match="cannot be collected with handles"):
        studies(tmp_path / "other", harness.settings, STUDY)
    # Also if the study was loaded before, and if the check at loading was left out.
    for spec in (replace(specs["garden"], pseudonyms=Pseudonyms(bytes.fromhex(OTHER_KEY), PANEL)),):
        with pytest.raises(PseudonymKeyError, match="another key"):
            await harness.collect("followers", [week_of(harness.clock.now().date())], spec)
    with pytest.raises(PseudonymKeyError, match="without its key"):
        await harness.collect("videos", days(1), replace(specs["garden"], pseudonyms=None))
    with pytest.raises(PseudonymKeyError, match="cannot be collected with handles"):
        await harness.collect("videos", days(1), replace(specs["garden"], pseudonymous=False, pseudonyms=None))
    assert harness.requests_sent == sent
    with pytest.raises(UnknownPseudonym):
        await harness.collect("users", [week_of(harness.clock.now().date())], replace(specs["garden"], panel=(PEOPLE,)))
    assert harness.requests_sent == sent
    # After its data is removed, a study may have another key.
    harness.ledger.close()
    remove_folder(harness.settings, harness.clock.now, "garden")
    assert pseudonymous(tmp_path / "studies", wrong)["garden"].panel != specs["garden"].panel


async def test_study_with_handles_does_not_become_pseudonymous(tmp_path: Path) -> None:
    harness = CollectorHarness(settings_of(tmp_path / "data", pseudonym_key=KEY), SandboxConfig())
    specs = studies(tmp_path / "studies", harness.settings, STUDY)
    write_expected_units(harness.settings.raw, specs.values(), harness.clock.now())
    for _ in range(2):
        with pytest.raises(ValueError, match="already has data that was collected with handles"):
            pseudonymous(tmp_path / "studies", harness.settings, STUDY)
        for path in harness.settings.raw.glob("expected_units/*/*/*.parquet"):
            path.unlink()
        await harness.collect("users", [week_of(harness.clock.now().date())], specs["garden"])


async def test_forget_finds_an_account_under_its_pseudonym(copied: CollectorHarness, tmp_path: Path) -> None:
    settings, now = copied.settings, copied.clock.now
    copied.ledger.close()
    author = PSEUDONYM("sandbox_popular")
    tables = ("videos", "liked_videos", "reposted_videos", "pinned_videos")
    own = [f"SELECT id FROM {{{one}}} WHERE username = '{author}'" for one in tables if one != "reposted_videos"]
    [(n_videos,)] = copied.sql(f"SELECT count(*) FROM ({' UNION '.join(own)})")
    assert n_videos
    without = replace(settings, pseudonym_key="")
    with pytest.raises(PseudonymKeyError, match="needs a key"):
        remove_items(without, now, handles=["sandbox_popular"])
    with pytest.raises(PseudonymKeyError, match="another key"):
        preview_removal(replace(settings, pseudonym_key=OTHER_KEY), now(), handles=["sandbox_popular"])
    assert find(settings.root, (author,)) != []
    assert len(preview_removal(settings, now(), handles=["Sandbox_Popular"]).selection.videos) == n_videos
    (receipt,) = remove_items(settings, now, handles=["sandbox_popular"])
    assert receipt.is_complete, receipt.problems
    assert (receipt.items["account"], receipt.items["video"]) == (1, n_videos)
    assert find(settings.root, (author, "sandbox_popular")) == []
    # The account is in no unit of either study any more, and a later answer is stored without it.
    specs = pseudonymous(tmp_path / "studies", settings)
    assert author not in specs["garden"].panel
    assert specs["garden"].left_out == specs["accounts"].left_out == 1
    again = CollectorHarness(settings, SandboxConfig())
    transport = TamperingTransport(again, mention)
    await again.collect("videos", days(3), specs["garden"], recollect=True, transport=transport)
    assert find(settings.root, (author, "sandbox_popular")) == []
    # An account can be named by its pseudonym without the key.
    (receipt,) = remove_items(without, now, handles=[PSEUDONYM("sandbox_beet")])
    assert receipt.is_complete
    assert find(settings.root, (PSEUDONYM("sandbox_beet"),)) == []


async def test_account_that_was_forgotten_before_is_withheld(tmp_path: Path) -> None:
    """The log has the hash of the handle alone, because there was neither a pseudonymous study nor a key."""
    settings = settings_of(tmp_path / "data")
    harness = CollectorHarness(settings, SandboxConfig())
    harness.ledger.close()
    remove_items(settings, harness.clock.now, handles=["sandbox_popular", MENTIONED])
    with_key = CollectorHarness(replace(settings, pseudonym_key=KEY), SandboxConfig())
    specs = pseudonymous(tmp_path / "studies", with_key.settings)
    assert len(specs["garden"].panel) == len(PANEL) - 1
    await collect_all(with_key, specs)
    assert len(with_key.ids()) > 100
    assert find(settings.root, (PSEUDONYM("sandbox_popular"), PSEUDONYM(MENTIONED), "sandbox_popular")) == []


async def test_rehydrated_list_has_pseudonyms_and_joins_with_the_study(
    copied: CollectorHarness, tmp_path: Path
) -> None:
    [(video, author), *_] = copied.sql("SELECT id, any_value(username) FROM {videos} GROUP BY id ORDER BY id")
    commented = next(one for (one,) in copied.sql("SELECT DISTINCT video_id FROM {comments} ORDER BY 1"))
    ids = tmp_path / "ids.csv"
    ids.write_text(f"id\n{video}\n{commented}\n")
    listed = read_id_list(ids, copied.clock.now())
    pseudonyms = Pseudonyms(bytes.fromhex(KEY))
    task = IdListTask("rehydrate", "shared", listed.videos, copied.settings.captures, pseudonyms=pseudonyms)
    context = copied.tools(transport=TamperingTransport(copied, mention))
    async with context.client:
        await fetch_id_list(
            task,
            context,
            lambda journal, known: publish_rehydrated(copied.settings.raw, journal, listed.videos, known),
            lambda _: None,
        )
        context = copied.tools()
        await rehydrate_comments("shared", {commented: {1}}, context, pseudonyms)
        # An audit requests no names. It may have the name of a study, and needs no key.
        audit = IdListTask("audit", "garden", listed.videos, copied.settings.audits / "captures", ("id", "create_time"))
        await fetch_id_list(audit, context, lambda journal, _: journal.seal(), lambda _: None)
        with pytest.raises(PseudonymKeyError, match="--pseudonymous"):
            await fetch_id_list(replace(task, pseudonyms=None), context, lambda *_: None, lambda _: None)
    assert (video, author) in copied.sql("SELECT id, username FROM {videos} WHERE study = 'shared'")
    [(n_comments,)] = copied.sql("SELECT count(*) FROM {comments} WHERE study = 'shared'")
    assert n_comments
    assert found_handles(copied.settings.root, {*PANEL, MENTIONED}) == []


def test_folding_of_handles_is_that_of_study_files(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "data", pseudonym_key=KEY)
    spec = pseudonymous(tmp_path / "studies", settings, ACCOUNTS)["accounts"]
    [condition] = spec.query["and"]
    assert condition["field_values"] == [
        PSEUDONYM(name) for name in ("sandbox_beet", "sandbox_balkon", "sandbox_popular")
    ]
    assert "sandbox" not in repr(spec)
    assert fold_handle("@Sandbox_Beet ") == "sandbox_beet"


async def test_pages_of_a_study_with_handles_are_not_copied(tmp_path: Path) -> None:
    harness = CollectorHarness(settings_of(tmp_path / "data", pseudonym_key=KEY), SandboxConfig())
    text = STUDY.replace("users: panel", "users: none\nplaylists: true").split("panel:")[0]
    plain = studies(tmp_path / "plain", harness.settings, text)["garden"]
    secret = pseudonymous(tmp_path / "secret", harness.settings, text.replace("name: garden", "name: secret"))["secret"]

    def name_a_person(request: httpx.Request, response: httpx.Response) -> httpx.Response | None:
        body = orjson.loads(response.content)
        if "playlist" in request.url.path:
            data = {"playlist_id": 71, "playlist_name": f"with @{MENTIONED}", "has_more": False}
            body = {"data": data, "error": {"code": "ok", "message": "", "log_id": "1"}}
        for video in body["data"].get("videos", []):
            video["playlist_id"] = 71
        return httpx.Response(200, json=body, headers={"date": response.headers["date"]})

    transport = TamperingTransport(harness, name_a_person)
    week = week_of(harness.clock.now().date())
    for spec in (plain, secret):
        await harness.collect("videos", days(1), spec, transport=transport)
        await harness.collect("playlists", [week], spec, transport=transport)
    names = dict(harness.sql("SELECT study, playlist_name FROM {playlists}"))
    assert names == {"garden": f"with @{MENTIONED}", "secret": f"with @{PSEUDONYM(MENTIONED)}"}
