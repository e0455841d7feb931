"""No exported file of a pseudonymous export contains what points to a person, in whatever disguise and column."""

import json
import unicodedata
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from research_assets.export import FORMATS, ExportRequest, export, spss
from research_assets.export.archive import ARCHIVE_FILES
from research_assets.settings import Settings
from research_assets.storage.raw_sql import sql_identifier
from research_assets.study.spec import StudySpec
from research_assets.tiktok.identifiers import replace_identifiers
from research_assets_tests.export.export_warehouse import NOW, STUDY
from research_assets_tests.report.report_warehouse import contracts

NAME = "zqxanna"
"""A name that occurs in no other text."""

PLANTED = (
    "linktr.ee/zqxanna",
    "beacons.ai/zqxanna",
    "bit.ly/zqxanna",
    "instagram.com/zqxanna",
    "t.me/zqxanna",
    "zqxanna.de",
    "www.zqxanna.blog",
    "tiktok.com/@zqxanna",
    "zqxanna.bio",
    "linktr.ee / zqxanna",
    "linktr[.]ee/zqxanna",
    "zqxanna.com?x=1",
    "https://x.org/zqxanna",
    "HTTP://ZQXANNA.ORG",
    "hxxps://zqxanna.net/x",
    "https: //zqxanna.net",
    "zqxanna dot com",
    "zqxanna (dot) com",
    "zqxanna . com",
    "zqxanna punkt de",
    "linktr\u3002ee/zqxanna",
    "zqxanna.unknowntld/x",
    "wa.me/zqxanna",
    "zqxanna@x.org",
    "zqxanna.m@mail.x.org",
    "zqxanna @ x . org",
    "zqxanna [at] x [dot] org",
    "zqxanna(at)x.org",
    "zqxanna at domain dot com",
    "ZQXANNA AT DOMAIN DOT COM",
    "zqxanna{at}x{dot}org",
    "zqxanna<at>x<dot>org",
    "zqxanna-at-x-dot-org",
    "zqxanna_at_gmail_dot_com",
    "zqxanna at gmail",
    "zqxanna @gmail.com",
    "zqxanna@gmail com",
    "zqxanna\uff20x\uff0eorg",
    "zqx\u200banna@x.org",
    "zqxanna@x\u2060.org",
    "zqx\xadanna@x.org",
    "zqxanna arroba x punto com",
    "zqxanna \xe4t gmx punkt de",
    "zqxanna\U0001f4e7gmail.com",
    "mailto:zqxanna@x.org",
    "zqxanna dot m at x dot org",
    "\U0001d5d3\U0001d5ca\U0001d5d1\U0001d5ba\U0001d5c7\U0001d5c7\U0001d5ba@x.org",
    "zqxanna@\u0441\u043e\u043c.\u0441\u043e\u043c",
    "@zqxanna",
    "\uff20zqxanna",
    "@zqx\u200banna",
    "@zqxanna.m_2",
    "@ zqxanna_2",
    "@x-zqxanna",
    "@x@zqxanna.social",
    "ig: zqxanna",
    "insta zqxanna_2",
    "snap:zqxanna",
    "Telegram -> zqxanna",
    "discord zqxanna#1234",
    "zqxanna#1234",
)
"""Links without a scheme, addresses, mentions and accounts, plain and in disguise."""
NUMBERS = (
    "7602399228894800784",
    "7602 3992 2889 4800 784",
    "\uff17602399228894800784",
    "+49 170 7602399",
    "0170/7602399",
)
"""Ids and telephone numbers."""
PROSE = (
    "Hello world. It was great, at home. In the end.",
    "3.Platz, z.B. heute u.a. mit 1.5 kg; 10.000 views",
    "polka dot dress #fyp #f\xfcrdich #1",
    "Am 01.02.2026 um 10:30 Uhr, 2026-02-01T10:00:00Z",
    "mi punto de vista, c'est le point de vue, el punto es",
    "1/2 und/oder w/ friends :) <3 50% off, 19.99 EUR",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 Familie \u2764\ufe0f gr\xf6\xdfe",
    "\u65e5\u672c\u8a9e\u3002\u30c6\u30b9\u30c8",
    "look at this, meet me at the market ... so much",
    "a*b c_d [x] (y) {z} 16:9 @ 60fps v1.2.3 Mr.Bean",
)
"""Texts in which nothing is replaced."""
AROUND = ("{}", "Schreibt mir: {} !", "foo {} bar", "\n{}\n", "({})", "\u2764\ufe0f {} \u2764\ufe0f", "'{}'")
UNITS = ("a.", "a", "a-", "@", "a at ", "1 ", ".", "_at_", "a dot ", "\u200b", "+1", "a@", "x.com/", "a[.]")


def pseudonym(name: str) -> str:
    return f"user_{len(name)}"


def contains_name(text: str) -> bool:
    """Return whether a text shows the name or the number to a reader, as a search without disguises does."""
    plain = "".join(c for c in unicodedata.normalize("NFKC", text) if unicodedata.category(c) not in ("Cf", "Mn", "Cc"))
    return NAME in plain.lower() or "7602399" in plain.replace(" ", "")


@pytest.mark.parametrize("planted", [*PLANTED, *NUMBERS])
@pytest.mark.parametrize("around", AROUND)
def test_identifier_is_replaced_and_the_rest_is_kept(planted: str, around: str) -> None:
    found = replace_identifiers(around.format(planted), pseudonym)
    assert not contains_name(found), found
    before, after = around.split("{}")
    assert found.startswith(before.rstrip())
    assert found.endswith(after.lstrip())


@pytest.mark.parametrize("text", PROSE)
def test_prose_is_kept(text: str) -> None:
    assert replace_identifiers(text, pseudonym) == text


def test_names_of_the_row_are_replaced_without_a_mention_if_they_look_like_an_account() -> None:
    text = "folgt zqx.anna und ZQX.ANNA. Garten, @Frau Dr. Carla!"
    found = replace_identifiers(text, pseudonym, ["zqx.anna", "garten", "Frau Dr. Carla"])
    assert found == "folgt user_8 und user_8. Garten, @user_14!"


@pytest.mark.parametrize("unit", UNITS)
def test_long_text_takes_no_time_that_grows_with_its_square(unit: str) -> None:
    # The API's longest text has 2,200 characters. A pattern with nested repetitions would not end within the timeout.
    replace_identifiers(unit * (40_000 // len(unit)), pseudonym)


CHARACTERS = st.characters(codec="utf-8")
EDGE = st.text(CHARACTERS, max_size=6).map(lambda text: f"{text} " if text else "")


@given(EDGE, st.sampled_from(PLANTED), st.text(CHARACTERS, max_size=6))
@example("@ ", "linktr.ee/zqxanna", "")
def test_identifier_is_replaced_next_to_any_text(before: str, planted: str, after: str) -> None:
    assert not contains_name(replace_identifiers(f"{before}{planted} {after}", pseudonym))


@given(st.text(CHARACTERS), st.lists(st.text(CHARACTERS, max_size=5), max_size=2))
def test_any_text_is_scrubbed_without_an_error(text: str, names: list[str]) -> None:
    replace_identifiers(text, pseudonym, names)


OWN_TEXTS = {
    "api_changes": None,
    "codebook": {"mart", "column_name", "description", "type", "unit", "source_field", "available_since"},
}
"""Columns whose text is the project's; None for all of a mart."""

CONTROLLED = {"study", "state", "entity", "unit_kind", "kind", "pool", "endpoint", "last_attempt_state"}
"""Columns with one of a few values of the project, or with the name of a study."""


def planted_value(kind: str, planted: str) -> Any:
    if kind.endswith("[]"):
        return [planted_value(kind[:-2], planted), None]
    if kind.startswith("struct"):
        parts = (part.split() for part in kind.removeprefix("struct(").removesuffix(")").split(", "))
        return {name: planted if part == "varchar" else None for name, part in parts}
    return planted


def make_planted_warehouse(root: Path) -> Settings:
    """Write every mart, with one row per planted text that has it in each text column of the API."""
    (root / "state").mkdir(mode=0o700, parents=True)
    settings = Settings.from_env({"RESEARCH_DATA": str(root)})
    with duckdb.connect(str(settings.warehouse)) as connection:
        connection.execute("CREATE SCHEMA marts")
        for mart, columns in contracts().items():
            definitions = ", ".join(f"{sql_identifier(name)} {kind}" for name, kind in columns.items())
            connection.execute(f"CREATE TABLE marts.{sql_identifier(mart)} ({definitions})")
            own = OWN_TEXTS.get(mart, set())
            texts = {
                name: kind
                for name, kind in columns.items()
                if "varchar" in kind and own is not None and name not in own | CONTROLLED
            }
            for planted in (*PLANTED, *NUMBERS):
                values = {name: planted_value(kind, f"Bio: {planted} !") for name, kind in texts.items()}
                values |= {"study": "garden"} if "study" in columns else {}
                values |= {"unit_kind": "day"} if "unit_kind" in columns else {}
                values |= dict.fromkeys(own or (), "x") if mart == "codebook" else {}
                if values:
                    names = ", ".join(map(sql_identifier, values))
                    marks = ", ".join("?" for _ in values)
                    connection.execute(
                        f"INSERT INTO marts.{sql_identifier(mart)} ({names}) VALUES ({marks})", list(values.values())
                    )
    return settings


def text_of(path: Path) -> str:
    """Return all texts of an exported file."""
    if path.suffix == ".parquet":
        return json.dumps(duckdb.execute(f"FROM '{path}'").fetchall(), default=str, ensure_ascii=False)
    if path.suffix == ".sav":
        return json.dumps(spss.read_table(path).frame.to_dict("list"), default=str, ensure_ascii=False)
    if path.suffix == ".dta":
        return json.dumps(pd.read_stata(path).to_dict("list"), default=str, ensure_ascii=False)
    return path.read_text(encoding="utf-8")


def test_no_exported_file_contains_a_planted_identifier(tmp_path: Path) -> None:
    settings = make_planted_warehouse(tmp_path / "data")
    condition = {"operation": "IN", "field_name": "keyword", "field_values": list(PLANTED[:3])}
    study = StudySpec("garden", STUDY.start, {"and": (condition,)}, panel=(NAME,))
    result = export(settings, ExportRequest(formats=FORMATS, pseudonymous=True), [study], NOW)
    files = [path for path in result.folder.rglob("*") if path.is_file()]
    assert len(files) == len(FORMATS) * len(contracts()) + 4 + len(ARCHIVE_FILES)
    for path in files:
        text = text_of(path)
        assert not contains_name(text), path
        if path.suffix in (".parquet", ".csv") and path.stem in ("videos", "comments", "hashtags"):
            assert "[link]" in text, path
