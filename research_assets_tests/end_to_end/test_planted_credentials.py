"""A server that repeats the credentials everywhere: no file, log or output of the project contains one afterwards.

Covered are successful and failed runs of Dagster over HTTP, the build of the marts, and the commands, among them the
verification, an export and a removal. The forms of a
credential are those of `forms_of`. Not here: each form in each position of one response (see tiktok/test_redaction.py).
"""

import secrets
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import orjson
import pytest
import zstandard

from research_assets.assets.warehouse import warehouse_definitions
from research_assets.compliance.verification.step import take_step
from research_assets.resources import CollectorResource
from research_assets.sandbox import server
from research_assets.sandbox.app import TOKEN_PATH, Receive, Sandbox, Scope, Send
from research_assets.sandbox.config import SandboxConfig
from research_assets.settings import Settings, child_environment
from research_assets.storage.raw_reader import query_raw
from research_assets.study.spec import UserRule
from research_assets.units.periods import current_period
from research_assets_tests.assets.harness import STUDY, AssetHarness, failure_message
from research_assets_tests.conftest import FakeClock
from research_assets_tests.tiktok.hostile_server import forms_of
from research_assets_tests.warehouse.raw_data import UPSTREAM

pytestmark = pytest.mark.timeout(900)

FAULTS: dict[int, tuple[int, str]] = {
    3: (500, "internal_error"),
    5: (504, "html"),
    6: (401, "access_token_invalid"),
    8: (429, "rate_limit_exceeded"),
    10: (400, "invalid_params"),
    13: (500, "data"),
}
"""Failures by the number of the data request, as status and code."""


@dataclass
class Planted:
    """The credentials that the server knows, the command lines that it saw, and what it does next."""

    credentials: list[str]
    command_lines: set[bytes] = field(default_factory=set)
    requests: int = 0
    redirects: bool = False
    rejects_tokens: bool = False

    def forms(self) -> list[str]:
        return [form for credential in self.credentials for form in forms_of(credential).values()]


class EchoingSandbox(Sandbox):
    """A sandbox whose answers contain all credentials in all forms."""

    planted: Planted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v2/"):
            await super().__call__(scope, receive, send)
            return
        messages: list[MutableMapping[str, Any]] = []

        async def collect(message: MutableMapping[str, Any]) -> None:
            messages.append(message)

        await super().__call__(scope, receive, collect)
        body = b"".join(message.get("body", b"") for message in messages)
        date = [(name, value) for name, value in messages[0]["headers"] if name == b"date"]
        status, body, headers = self._echo(scope["path"], messages[0]["status"], body)
        headers = [*date, (b"content-length", b"%d" % len(body)), *headers]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _echo(self, path: str, status: int, body: bytes) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
        planted, text = self.planted, " ".join(self.planted.forms())
        planted.command_lines |= {file.read_bytes() for file in Path("/proc").glob("[0-9]*/cmdline") if file.exists()}
        headers = [(b"x-echo", text.encode()), (b"content-type", f"text/{planted.credentials[-1]}".encode())]
        if path == TOKEN_PATH:
            answer = orjson.loads(body)
            if planted.rejects_tokens or "access_token" not in answer:
                answer = {"error": "invalid_client", "error_description": "@", "log_id": "@", "@": "@"}
                return 401, _with_forms(answer, planted.forms()), headers
            planted.credentials.append(answer["access_token"])
            return status, body[:-1] + b',"echo":"%b"}' % text.encode(), headers
        planted.requests += 1
        if planted.redirects:
            return 307, body, [*headers, (b"location", f"https://other.test/?token={planted.credentials[-1]}".encode())]
        fault, code = FAULTS.get(planted.requests, (0, ""))
        if code == "html":
            return fault, f"<html>{text}</html>".encode(), headers
        try:
            answer = orjson.loads(body)
        except ValueError:
            # The result of a verification is a list of ids.
            return status, body + text.encode(), headers
        answer |= {"@": ["@", {"@": "@"}], "error": {"code": code or "ok", "message": "@", "log_id": "@"}}
        if fault and code != "data":
            return fault, _with_forms({"error": answer["error"] | {"code": code}, "@": "@"}, planted.forms()), headers
        if code == "data":
            return fault, _with_forms({"error": {"code": "@", "message": "@", "log_id": "@"}}, planted.forms()), headers
        answer["data"]["@"] = "@"
        for rows in [value for value in answer["data"].values() if isinstance(value, list)]:
            for row in rows:
                row |= {
                    name: "@"
                    for name in ("video_description", "text", "display_name", "@")
                    if name in row or name == "@"
                }
                if isinstance(row.get("hashtag_names"), list):
                    row["hashtag_names"].append("@")
            rows += [{"no id": "@"}, "@", {"id": "@"}]
        return status, _with_forms(answer, planted.forms()), headers


def _with_forms(answer: object, forms: list[str]) -> bytes:
    """Return JSON in which each `@` is one of the forms, in turn, as the server would write it."""
    forms_in_turn = cycle(forms)
    first, *rest = orjson.dumps(answer).split(b"@")
    return first + b"".join(next(forms_in_turn).encode() + part for part in rest)


@pytest.fixture
def planted(monkeypatch: pytest.MonkeyPatch) -> Planted:
    """Make the next sandbox an echoing one."""
    planted = Planted([f"aw{secrets.token_hex(8)}", secrets.token_urlsafe(32)])

    def create_app(config: SandboxConfig, clock: Any = None) -> EchoingSandbox:
        app = EchoingSandbox(config, clock)
        app.planted = planted
        return app

    monkeypatch.setattr(server, "create_app", create_app)
    return planted


def _texts(path: Path) -> Iterator[bytes]:
    """Yield the bytes of a file, and its contents if they are compressed or divided into pages."""
    data = path.read_bytes()
    yield data
    if path.suffix == ".zst":
        yield zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()
    if path.suffix == ".parquet":
        with duckdb.connect() as memory:
            yield repr(memory.execute("SELECT * FROM read_parquet(?)", [str(path)]).fetchall()).encode()
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as warehouse:
            for schema, table in warehouse.execute("SELECT schema_name, table_name FROM duckdb_tables()").fetchall():
                yield repr(warehouse.execute(f'SELECT * FROM "{schema}"."{table}"').fetchall()).encode()
    if path.suffix in (".sqlite", ".db"):
        with closing(sqlite3.connect(path)) as database:
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
                yield repr(database.execute(f'SELECT * FROM "{table}"').fetchall()).encode()


def _stored_video(settings: Settings) -> int:
    ((video,),) = query_raw(settings.raw, "videos", "study=*/day=*", "SELECT min(id) FROM {table}")
    return int(video)


def _forms_in(text: bytes, forms: set[bytes]) -> list[bytes]:
    text = text.lower()
    return [form for form in forms if form in text]


def test_no_credential_is_in_anything_written(
    planted: Planted, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="research_assets")
    root, home = tmp_path / "data", tmp_path / "instance"
    home.mkdir()
    key, secret = planted.credentials
    config = SandboxConfig(fixed_volume=40, fixed_comments=3, client_key=key, client_secret=secret)
    study = replace(STUDY, users=UserRule("panel"), panel=("sandbox_star", "sandbox_moon"))
    outputs = []
    with server.run_in_thread(config) as sandbox, dg.DagsterInstance.local_temp(str(home)) as instance:
        harness = AssetHarness(sandbox, root, study, instance)
        assert harness.run("videos", "comments", first="2026-02-01", last="2026-02-03").success
        harness.run("users", first=str(current_period(study, sandbox.clock.now())))
        planted.redirects = True
        failed = harness.run("videos", first="2026-02-08")
        assert "redirected to https://other.test/?token=***" in failure_message(failed)
        planted.redirects, planted.rejects_tokens = False, True
        failed = harness.run("videos", first="2026-02-08")
        assert "invalid_client" in failure_message(failed)
        settings = harness.settings
        definitions = warehouse_definitions(UPSTREAM, settings, clock=FakeClock())
        assert dg.materialize(list(definitions.assets or []), instance=instance).success  # type: ignore[arg-type]
        planted.rejects_tokens = False
        for hours in (0, 1, 24):
            at = sandbox.clock.now() + timedelta(days=20, hours=hours)
            take_step(settings, CollectorResource(settings, clock=FakeClock()).open, FakeClock(at).now)
        commands = [(rejects, command) for rejects in (False, True) for command in ("check-api", "status", "verify")]
        commands += [(False, "export"), (False, f"forget --video {_stored_video(settings)} --yes")]
        for planted.rejects_tokens, command in commands:
            run = subprocess.run(
                [Path(sys.executable).with_name("research-assets"), "-vv", *command.split()],
                env=child_environment(settings),
                capture_output=True,
                check=False,
            )
            outputs += [run.stdout, run.stderr]
            if command.startswith(("export", "forget")):
                assert run.returncode == 0, run.stderr
    captured = capfd.readouterr()
    outputs += [captured.out.encode(), captured.err.encode(), caplog.text.encode(), *planted.command_lines]
    forms = {form.encode().lower() for form in planted.forms()}
    assert planted.requests > max(FAULTS)
    assert len(planted.credentials) > 3, "an earlier token is also planted"
    found = [f"output {n}: {form!r}" for n, text in enumerate(outputs) for form in _forms_in(text, forms)]
    files = [path for folder in (root, home) for path in folder.rglob("*") if path.is_file()]
    replaced = 0
    for path in files:
        if path.name.endswith(("-shm", "-wal")) and not path.exists():
            continue  # SQLite removes these files when the database is read and closed.
        for text in _texts(path):
            replaced += text.count(b"***")
            found += [f"{path.relative_to(tmp_path)}: {form!r}" for form in _forms_in(text, forms)]
    assert not found
    assert {path.suffix for path in files} >= {".zst", ".parquet", ".duckdb", ".sqlite", ".db", ".json", ".csv"}
    names = {path.relative_to(tmp_path).as_posix() for path in files}
    for place in ("/verification/tasks.jsonl", "/receipts/", "/exports/", "/withdrawals.jsonl"):
        assert any(place in name for name in names), place
    assert replaced > 1000
