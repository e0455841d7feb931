"""Random study files, panels and id lists: the requests that the client sends ask what is written, or there is none.

Each example goes from the bytes of a file to the bodies of the requests at the transport of the client.
"""

import asyncio
import csv
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import httpx
import orjson
import pytest
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st

from research_assets.collect.id_lists.batches import batch_ids
from research_assets.collect.id_lists.reader import IdListError, read_id_list
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings
from research_assets.study.loader import StudyError, read_study_file
from research_assets.study.spec import StudySpec
from research_assets.tiktok.conditions import LENGTHS, REGIONS
from research_assets.tiktok.requests import Request, user_info, video_query
from research_assets.units.periods import current_period
from research_assets_tests.collect.harness import CollectorHarness, TamperingTransport
from research_assets_tests.profiles import sized
from research_assets_tests.study.study_files import HEADER
from research_assets_tests.tiktok.scripted_api import PAGE, ScriptedApi, body_of

TODAY = date(2026, 3, 2)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
OPTIONS: dict[str, Any] = {
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
}
Send = Callable[[Sequence[Request]], list[Any]]


@pytest.fixture(scope="module")
def send() -> Iterator[Send]:
    """Yield a function that sends requests with the client and returns their bodies as the transport got them."""
    with asyncio.Runner() as runner:

        def bodies(requests: Sequence[Request]) -> list[Any]:
            async def run() -> list[httpx.Request]:
                api = ScriptedApi(PAGE)
                async with api.client() as client:
                    for request in requests:
                        await client.send(request)
                return api.sent

            return [body_of(request) for request in runner.run(run())]

        yield bodies


def searched(send: Send, spec: StudySpec) -> list[Any]:
    """Return the conditions of the group `and` in the search that a study sends."""
    (body,) = send([video_query(spec.query, spec.start, spec.start)])
    return list(body["query"]["and"])


def read_study(folder: Path, attributes: str) -> StudySpec | None:
    """Return the study; None if it is refused, with a line that the file has for each issue."""
    file = folder / "defs.yaml"
    text = HEADER + "".join(f"  {line}\n" for line in attributes.split("\n"))
    file.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        (declared,) = read_study_file(file, today=TODAY, studies_only=True)
    except StudyError as error:
        issues = error.issues
    else:
        return declared.spec
    assert issues
    assert all(issue.message and 1 <= issue.line <= text.count("\n") + 1 for issue in issues)
    return None


# Values: what a person means, and spellings of it.

INVISIBLE = ["\u200b", "\u200e", "\u200f", "\u202a", "\u202c", "\u2060", "\u2066", "\u2069", "\ufeff", "\u00ad"]
BLANKS = [" ", "\u00a0", "\u2009", "\u3000", "\t"]
HANDLES = st.from_regex(r"[a-z0-9_][a-z0-9_.]{0,14}[a-z0-9_]", fullmatch=True).filter(
    lambda name: re.search("[a-z0-9]", name) is not None
)
WORDS = st.one_of(
    st.text(st.characters(categories=["Ll", "Lu", "Nd"], max_codepoint=0x24F), min_size=1, max_size=8),
    st.sampled_from(
        [
            "m\u00fcnchen",
            "\u30ac\u30fc\u30c7\u30f3",
            "\U0001f331",
            "\u0938\u0935\u093e\u0932",
            "\u0645\u06cc\u200c\u062e",
        ]
    ),
    st.from_regex(r"[0-9_xobeE]{1,8}", fullmatch=True),
).map(lambda text: unicodedata.normalize("NFC", text))
IDS = st.builds(
    lambda time, low: time << 32 | low << 1 | 1, st.integers(1_500_000_000, 1_775_000_000), st.integers(0, 2**31 - 1)
)
DAYS = st.dates(date(2026, 2, 1), date(2026, 3, 1))


@st.composite
def pasted(draw: st.DrawFn, text: str) -> str:
    """Return a text with invisible characters between its own, blanks around it, and letters in two parts."""
    if draw(st.booleans()):
        text = unicodedata.normalize("NFD", text)
    for _ in range(draw(st.integers(0, 2))):
        place = draw(st.integers(0, len(text)))
        text = text[:place] + draw(st.sampled_from(INVISIBLE)) + text[place:]
    around = st.lists(st.sampled_from([*INVISIBLE, *BLANKS]), max_size=2).map("".join)
    return draw(around) + text + draw(around)


@st.composite
def written_handles(draw: st.DrawFn) -> tuple[str, str]:
    """Return a spelling of a handle, and the handle."""
    name = draw(HANDLES)
    shown = name.upper() if draw(st.booleans()) else name
    if draw(st.booleans()):
        host = draw(
            st.sampled_from(["https://www.tiktok.com/", "http://tiktok.com/", "www.tiktok.com/", "m.tiktok.com/"])
        )
        tail = draw(st.sampled_from(["", "/", "?lang=de", "#x", "/video/7503867840092128259?a=b", "/live"]))
        at = draw(st.sampled_from(["@", "%40"]))
        return f"{host}{at}{shown}{tail}", name
    return draw(pasted(draw(st.sampled_from(["", "@", "\uff20"])) + shown)), name


@st.composite
def written_hashtags(draw: st.DrawFn) -> tuple[str, str]:
    """Return a spelling of a hashtag, and the hashtag."""
    name = draw(WORDS)
    if draw(st.booleans()):
        return f"https://www.tiktok.com/tag/{quote(name)}{draw(st.sampled_from(['', '?lang=en', '/']))}", name
    return draw(pasted(draw(st.sampled_from(["", "#", "\uff03", "##"])) + name)), name


@st.composite
def written_conditions(draw: st.DrawFn) -> tuple[str, str, str]:
    """Return a field, a spelling of a value, and the value as it must be requested."""
    field = draw(
        st.sampled_from(
            [
                "username",
                "hashtag_name",
                "keyword",
                "region_code",
                "video_id",
                "view_count",
                "create_date",
                "video_length",
            ]
        )
    )
    match field:
        case "username":
            written, value = draw(written_handles())
        case "hashtag_name":
            written, value = draw(written_hashtags())
        case "keyword":
            value = " ".join(draw(st.lists(WORDS, min_size=1, max_size=3)))
            written = draw(pasted(value))
        case "region_code":
            value = draw(st.sampled_from(sorted(REGIONS)))
            written = draw(pasted(draw(st.sampled_from([value, value.lower()]))))
        case "video_id":
            value = str(draw(IDS))
            written = draw(st.sampled_from([value, f"id_{value}", f"https://www.tiktok.com/@a/video/{value}?q=1"]))
        case "view_count":
            value = written = str(draw(st.integers(0, 2**63 - 1)))
        case "create_date":
            day = draw(DAYS)
            written, value = draw(st.sampled_from([f"{day}", f"{day:%Y%m%d}"])), f"{day:%Y%m%d}"
        case _:
            value = draw(st.sampled_from(LENGTHS))
            written = draw(pasted(draw(st.sampled_from([value, value.lower()]))))
    return field, written, value


PLAIN = re.compile(r"(?!null$|~$)[^\W_][\w ./@%+-]*(?<! )", re.IGNORECASE)


async def test_collector_sends_the_values_of_a_study_file(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "panel.csv").write_bytes("sep=;\r\nusername;note\r\n@Farn_Fan;a\u2028intruder\r\n".encode("utf-16"))
    spec = read_study(
        tmp_path,
        """name: garden
start: 2026-02-01
query:
  and:
    - {field: region_code, in: [SE, NO]}
  or:
    - {field: hashtag_name, in: [0711, 1_000, "\\ud83c\\udf31", "#mu\\u0308nchen\\u200b"]}
    - field: keyword
      eq: on  # not true
users: panel
comments: none
panel: {usernames: ["https://www.tiktok.com/@Moosfreund?lang=de", 0711], file: panel.csv}""",
    )
    assert spec is not None
    sent: dict[str, list[Any]] = {}

    def record(request: httpx.Request, _: httpx.Response) -> None:
        sent.setdefault(request.url.path, []).append(orjson.loads(request.content))

    harness = CollectorHarness(settings, SandboxConfig(profile="clean", fixed_volume=20))
    await harness.collect("videos", [spec.start], spec, transport=TamperingTransport(harness, record))
    period = current_period(spec, harness.clock.now())
    await harness.collect("users", [period], spec, transport=TamperingTransport(harness, record))
    values = [
        (group, *condition["field_values"])
        for body in sent["/v2/research/video/query/"]
        for group, conditions in body["query"].items()
        for condition in conditions
    ]
    assert set(values) == {("and", "SE", "NO"), ("or", "0711", "1_000", "\U0001f331", "m\u00fcnchen"), ("or", "on")}
    names = [body["username"] for body in sent["/v2/research/user/info/"]]
    assert sorted(names) == ["0711", "farn_fan", "moosfreund"]


def yaml_forms(text: str) -> list[str]:
    """Return the forms in which a YAML file can contain a text on one line."""
    escaped = json.dumps(text)
    forms = [escaped, "".join(f"\\U{ord(one):08x}" for one in text).join('""')]
    if text.isprintable():
        forms.append("'" + text.replace("'", "''") + "'")
    if PLAIN.fullmatch(text) and text.isprintable():
        forms += [text, text, text]
    return forms


@given(st.data())
@sized(150, 9_000, **OPTIONS)
def test_condition_in_any_spelling_is_requested_as_meant(tmp_path: Path, send: Send, data: st.DataObject) -> None:
    field, written, value = data.draw(written_conditions())
    form = data.draw(st.sampled_from(yaml_forms(written)))
    entry = data.draw(
        st.sampled_from(
            [
                f"- {{field: {field}, eq: {form}}}",
                f"- {{field: {field}, in: [{form}]}}",
                f"- field: {field}\n      eq: {form}  # a comment",
                f"- field: {field}\n      in:\n        - {form}",
            ]
        )
    )
    spec = read_study(tmp_path, f"name: garden\nstart: 2026-02-01\nquery:\n  and:\n    {entry}")
    assert spec is not None, entry
    assert [condition["field_values"] for condition in searched(send, spec)] == [[value]]


NASTY = st.one_of(
    st.from_regex(r"[-+0-9._:xobeEinfaNTZ~]{1,9}", fullmatch=True),
    st.from_regex(r"[-+]?0?[0-9_]{1,6}", fullmatch=True),
    st.from_regex(r"[0-9]{1,4}[-:][0-9]{1,2}[-:][0-9]{1,2}([ T][0-9]{1,2}:[0-9]{2}:[0-9]{2}Z?)?", fullmatch=True),
    st.sampled_from(
        [
            "yes",
            "no",
            "on",
            "off",
            "y",
            "n",
            "true",
            "false",
            "null",
            "~",
            "Null",
            ".inf",
            "-.INF",
            ".nan",
            "=",
            "<<",
            "NO",
            "No",
            "0o17",
            "0x1F",
            "0b11",
            "1e3",
            "1.0",
            "!x",
            "&a",
        ]
    ),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=10),
    st.text(st.sampled_from("ab#@,:[]{}'\"&*!|>%`-? 01\\"), min_size=1, max_size=10),
)


def skeleton(text: str) -> str:
    """Return the visible letters of a text, without what normalization may change."""
    letters = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = (one for one in letters if unicodedata.category(one) not in ("Cf", "Cc", "Zs", "Zl", "Zp"))
    return re.sub("[\u034f\u115f\u1160\u2800\u3164\uffa0\ufe00-\ufe0f\U000e0100-\U000e01ef]", "", "".join(kept))


@given(
    st.sampled_from(["keyword", "hashtag_name", "username"]),
    NASTY,
    st.sampled_from(["flow", "block", "list", "quoted"]),
)
@example("hashtag_name", "0711", "flow")
@example("hashtag_name", "#tag", "block")
@example("keyword", "love #garden", "block")
@example("keyword", "NO", "list")
@sized(150, 9_000, **OPTIONS)
def test_any_text_is_requested_as_written_or_refused(
    tmp_path: Path, send: Send, field: str, text: str, style: str
) -> None:
    condition = {
        "flow": f"- {{field: {field}, in: [{text}]}}",
        "block": f"- field: {field}\n      eq: {text}",
        "list": f"- field: {field}\n      in:\n        - {text}\n        - other",
        "quoted": f"- {{field: {field}, eq: {json.dumps(text)}}}",
    }[style]
    spec = read_study(tmp_path, f"name: garden\nstart: 2026-02-01\nquery:\n  and:\n    {condition}")
    if spec is None:
        return
    (condition_sent,) = searched(send, spec)
    values = [value for value in condition_sent["field_values"] if (value, style) != ("other", "list")]
    signs = {"username": "@", "hashtag_name": "#", "keyword": ""}[field]
    if style != "quoted":
        # What YAML itself says of a plain text: it ends at a comment with a blank, and commas divide a list.
        text = re.split(r"[ \t\n\r]#(?=[\s#]|$)", text, maxsplit=1)[0]
        if not re.search("[,'\"\\[\\]{}&*!|>%`?\n\r]|^-", text):
            assert [skeleton(value).lstrip(signs) for value in values] == [skeleton(text).lstrip(signs)]
        return
    if "/" not in text:
        assert [skeleton(value) for value in values] == [skeleton(text).lstrip(signs)]


@given(
    st.sampled_from(["settle_days", "count_lag_days", "n", "quota_weight", "fraction", "reobserve_days", "start"]),
    NASTY,
)
@example("settle_days", "010")
@example("quota_weight", "1_0.5")
@example("start", "2026-W05-1")
@sized(100, 6_000, **OPTIONS)
def test_number_and_day_have_the_value_that_is_written_or_are_refused(tmp_path: Path, key: str, text: str) -> None:
    line = {
        "n": f"comments: {{videos: top, n: {text}}}",
        "fraction": f"comments: {{videos: sample, fraction: {text}}}",
        "reobserve_days": f"reobserve_days: [{text}]",
    }.get(key, f"{key}: {text}")
    others = "" if key == "start" else "start: 2026-02-01\n"
    attributes = f"name: garden\n{others}query:\n  and:\n    - {{field: keyword, eq: a}}\n{line}"
    spec = read_study(tmp_path, attributes)
    if spec is None or re.search("[,\\[\\]{}\n\r#&!'\"|>]", text):
        return
    value = {
        "n": spec.comments.n,
        "fraction": spec.comments.fraction,
        "reobserve_days": spec.reobserve_days[0] if spec.reobserve_days else None,
        "start": spec.start,
    }.get(key, getattr(spec, key, None))
    if key in ("quota_weight", "fraction"):
        assert Decimal(repr(value)) == Decimal(text.strip())
    else:
        assert str(value) == text.strip()


CELLS = st.text(
    st.one_of(st.sampled_from(",;\t|\"'\n\r#=\u2028\x85\x0b\x1cab"), st.characters(codec="utf-8")), max_size=8
)


@st.composite
def tables(draw: st.DrawFn, column: str, values: Sequence[str]) -> bytes:
    """Return a table with the values in one column, between others with any text, as spreadsheets save it."""
    n_before, n_after = draw(st.integers(0, 2)), draw(st.integers(0, 2))
    separator, end = draw(st.sampled_from(",;\t")), draw(st.sampled_from(["\n", "\r\n"]))
    text = io.StringIO()
    quoting: Literal[0, 1] = draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    # Only cells in quotes may contain the separators of other programs.
    cells = CELLS if quoting == csv.QUOTE_ALL else CELLS.map(lambda cell: re.sub('[,;\t|"\n\r]', "", cell))
    writer = csv.writer(text, delimiter=separator, lineterminator=end, quoting=quoting)
    names = [f"note{number}" for number in range(n_before + n_after)]
    writer.writerow([*names[:n_before], column, *names[n_before:]])
    for value in values:
        row = [draw(cells) for _ in names]
        writer.writerow([*row[:n_before], value, *row[n_before:]])
    head = f"sep={separator}{end}" if draw(st.booleans()) else ""
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    return (head + text.getvalue()).encode(encoding)


@given(st.data())
@sized(80, 4_000, **OPTIONS)
def test_profiles_of_a_panel_file_are_requested_as_meant(tmp_path: Path, send: Send, data: st.DataObject) -> None:
    accounts = data.draw(st.lists(written_handles(), min_size=1, max_size=4))
    (tmp_path / "panel.csv").write_bytes(data.draw(tables("username", [written for written, _ in accounts])))
    study = "name: garden\nstart: 2026-02-01\nquery:\n  and:\n    - {field: keyword, eq: a}\npanel: {file: panel.csv}"
    spec = read_study(tmp_path, study)
    assert spec is not None
    names = list(dict.fromkeys(name for _, name in accounts))
    assert [body["username"] for body in send([user_info(name) for name in spec.panel])] == names


LINES = st.one_of(
    NASTY.map(lambda text: re.sub("[\n\r]", "", text)),
    st.tuples(HANDLES, st.sampled_from("\u2028\u2029\x85\x0b\x0c\x1c\u200b,; \t@#"), HANDLES).map("".join),
)


@given(st.lists(LINES, min_size=1, max_size=3))
@sized(60, 3_000, **OPTIONS)
def test_any_lines_of_a_panel_are_requested_as_written_or_refused(tmp_path: Path, lines: list[str]) -> None:
    (tmp_path / "panel.txt").write_bytes("\n".join(lines).encode())
    study = "name: garden\nstart: 2026-02-01\nquery:\n  and:\n    - {field: keyword, eq: a}\npanel: {file: panel.txt}"
    spec = read_study(tmp_path, study)
    if spec is not None:
        written = [skeleton(line).lstrip("@") for line in lines]
        expected = dict.fromkeys(text for text in written if text and not text.startswith("#"))
        assert {skeleton(name) for name in spec.panel} == expected.keys()


def requested_ids(send: Send, file: Path, **options: Any) -> list[int] | None:
    """Return the ids in the requests for a list, in any order; None if the list is refused."""
    try:
        found = read_id_list(file, NOW, **options)
    except IdListError:
        return None
    condition = {"operation": "IN", "field_name": "video_id"}
    requests = [
        video_query({"and": ({**condition, "field_values": [str(one) for one in batch.ids]},)}, batch.first, batch.last)
        for batch in batch_ids(found.videos, NOW.date())
    ]
    return [int(one) for body in send(requests) for one in body["query"]["and"][0]["field_values"]]


@st.composite
def id_files(draw: st.DrawFn, ids: Sequence[int]) -> bytes:
    """Return a file with these ids, as a table, a data download, lines of Zeeschuimer, or other JSON."""
    share = "https://www.tiktokv.com/share/video/{}/"
    forms = ["{}", "id_{}", "'{}", '="{}"', share, "https://www.tiktok.com/@a.b/video/{}?q=1", " {}\u200b", "{:,}"]
    written = [draw(st.sampled_from(forms)).format(one).replace(",", ".") for one in ids]
    noise = draw(CELLS)
    match draw(st.sampled_from(["table", "lines", "download", "text", "zeeschuimer", "json"])):
        case "table":
            return draw(tables(draw(st.sampled_from(["id", "Video ID", "link", "aweme_id"])), written))
        case "lines":
            return draw(st.sampled_from(["\n", "\r\n", "\r"])).join(written).encode()
        case "download":
            half = len(ids) // 2
            rows = [{"Date": "2026-05-01 10:00:00", "Link": share.format(one), "Note": noise} for one in ids]
            data: dict[str, Any] = {
                "Your Activity": {"Watch History": {"VideoList": rows[:half]}},
                "Likes and Favorites": {"Like List": {"ItemFavoriteList": rows[half:]}, "Note": [noise]},
            }
            return json.dumps(data, indent=draw(st.sampled_from([None, 2]))).encode()
        case "text":
            return "\n".join(f"Date: 2026-05-01 10:00:00\nLink: {share.format(one)}\n" for one in ids).encode()
        case "zeeschuimer":
            lines: list[dict[str, Any]] = [
                {"source_platform": "tiktok.com", "data": {"id": str(one), "desc": noise, "author": {"id": "68"}}}
                for one in ids
            ]
            return "\n".join(json.dumps(row, ensure_ascii=draw(st.booleans())) for row in lines).encode()
    return json.dumps(
        draw(st.sampled_from([[*ids], [*map(str, ids)], [{"id": one, "text": noise} for one in ids]]))
    ).encode()


@given(st.data())
@sized(120, 6_000, **OPTIONS)
def test_ids_of_a_list_are_requested_exactly(tmp_path: Path, send: Send, data: st.DataObject) -> None:
    ids = data.draw(st.lists(IDS, min_size=1, max_size=12))
    (tmp_path / "list").write_bytes(data.draw(id_files(ids)))
    requested = requested_ids(send, tmp_path / "list")
    assert requested is not None
    assert sorted(requested) == sorted(set(ids))


ROUNDINGS: list[Callable[[int], int]] = [
    lambda one: int(float(one)),
    lambda one: int(f"{float(one)!r}".partition("e")[0].replace(".", "").ljust(19, "0")),
    lambda one: int(str(one)[:15].ljust(19, "0")),
]


@given(st.data())
@sized(50, 3_000, **OPTIONS)
def test_no_rounded_id_is_requested(tmp_path: Path, send: Send, data: st.DataObject) -> None:
    rounding = data.draw(st.sampled_from(ROUNDINGS))
    ids = [rounding(one) for one in data.draw(st.lists(IDS, min_size=1, max_size=12))]
    (tmp_path / "list").write_bytes(data.draw(id_files(ids)))
    assert requested_ids(send, tmp_path / "list") is None


@given(st.data())
@sized(80, 5_000, **OPTIONS)
def test_damaged_list_requests_only_ids_that_it_contains(tmp_path: Path, send: Send, data: st.DataObject) -> None:
    ids = data.draw(st.lists(IDS, min_size=1, max_size=4))
    content = bytearray(data.draw(id_files(ids)))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(content)))
        replaced = data.draw(st.one_of(st.binary(max_size=3), CELLS.map(str.encode)))
        content[place : place + data.draw(st.integers(0, 3))] = replaced
    (tmp_path / "list").write_bytes(bytes(content))
    requested = requested_ids(send, tmp_path / "list", ids_are_exact=True)
    text = re.sub(rb"[\0.,' ]", b"", bytes(content))
    assert all(str(one).encode() in text for one in requested or ())
