"""Pseudonymous studies collected by the command, killed, resumed, built and exported: no file has a handle.

The server repeats the handles of each request in texts, in unknown fields and in errors. Searched are the data
folder with Dagster's home, and everything that the commands print. Not here: that rows and joins equal those of a study
with handles (see collect/test_pseudonymous.py).
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, MutableMapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pytest

from research_assets.sandbox import server
from research_assets.sandbox.app import TOKEN_PATH, Receive, Sandbox, Scope, Send
from research_assets.sandbox.config import SandboxConfig
from research_assets.sandbox.server import RunningSandbox, run_in_thread
from research_assets.settings import VARIABLES, Settings, prepare_root
from research_assets.tiktok.pseudonyms import Pseudonyms
from research_assets_tests.collect.test_pseudonymous import ACCOUNTS, MENTIONED, PANEL, STUDY, found_handles
from research_assets_tests.compliance.data_folder import find
from research_assets_tests.study.study_files import write

pytestmark = [pytest.mark.timeout(900), pytest.mark.long]

KEY = "6b" * 32
NOW = datetime(2026, 2, 13, 9, tzinfo=UTC)
POSTING = range(6000)
"""Accounts of the world that post videos."""

FAULTS = {4: (500, "internal_error"), 7: (502, "html"), 9: (400, "invalid_params"), 12: (500, "internal_error")}
"""Failures by the number of the data request, as status and code."""


@dataclass
class Kill:
    """The process to kill when a number of data requests have arrived."""

    process: "subprocess.Popen[str] | None" = None
    at_request: int = 0
    requests: int = 0
    asked: set[str] = field(default_factory=set)


class EchoingSandbox(Sandbox):
    """A sandbox that repeats the accounts of a request in its answer, and fails in some."""

    kill: Kill

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v2/") or scope["path"] == TOKEN_PATH:
            await super().__call__(scope, receive, send)
            return
        sent: list[bytes] = []
        messages: list[MutableMapping[str, Any]] = []

        async def listen() -> MutableMapping[str, Any]:
            message = await receive()
            sent.append(message.get("body", b""))
            return message

        async def collect(message: MutableMapping[str, Any]) -> None:
            messages.append(message)

        await super().__call__(scope, listen, collect)
        self.kill.requests += 1
        if self.kill.process is not None and self.kill.requests == self.kill.at_request:
            # The command and the runs that it started.
            os.killpg(self.kill.process.pid, signal.SIGKILL)
        names = _names(orjson.loads(b"".join(sent)))
        self.kill.asked |= set(names)
        status, body = messages[0]["status"], b"".join(message.get("body", b"") for message in messages)
        status, body = _echo(status, body, names or ["sandbox_beet"], *FAULTS.get(self.kill.requests, (0, "")))
        date = [(name, value) for name, value in messages[0]["headers"] if name == b"date"]
        headers = [*date, (b"content-length", b"%d" % len(body)), (b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def _names(body: dict[str, Any]) -> list[str]:
    conditions = [one for group in body.get("query", {}).values() for one in group if one["field_name"] == "username"]
    return [body["username"]] if "username" in body else [name for one in conditions for name in one["field_values"]]


def _echo(status: int, body: bytes, names: list[str], fault: int, code: str) -> tuple[int, bytes]:
    text = f"{', '.join(names)} and @{MENTIONED}"
    if code == "html":
        return fault, f"<html>{text}</html>".encode()
    answer = orjson.loads(body)
    answer["error"] = answer["error"] | ({"code": code, "message": f"failed for {text}"} if fault else {})
    if fault or status != 200:
        answer["error"]["message"] += f" ({text})"
        return fault or status, orjson.dumps({"error": answer["error"], "asked": names})
    for records in [[answer["data"]], *(value for value in answer["data"].values() if isinstance(value, list))]:
        for record in records:
            author = record.get("username") or names[0]
            record["author_unique_id"] = author
            for name in ("video_description", "text", "voice_to_text"):
                if isinstance(record.get(name), str) and "username" in record:
                    record[name] += f" {author} @{author} @{MENTIONED}"
    return status, orjson.dumps(answer | {"asked": names})


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[RunningSandbox]:
    kill = Kill()

    def create_app(config: SandboxConfig, clock: Any = None) -> EchoingSandbox:
        app = EchoingSandbox(config, clock)
        app.kill = kill
        return app

    monkeypatch.setattr(server, "create_app", create_app)
    with run_in_thread(SandboxConfig(start_time=NOW, search_lifetime=40 * 86_400)) as running:
        yield running


@dataclass(frozen=True)
class Terminal:
    """The environment of a person, who starts commands as processes of their own."""

    environment: dict[str, str]

    def start(self, *words: str) -> "subprocess.Popen[str]":
        script = Path(sys.executable).with_name("research-assets")
        return subprocess.Popen(
            [script, *words],
            env=os.environ | self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *words: str, code: int = 0) -> str:
        process = self.start(*words)
        output, _ = process.communicate()
        assert process.returncode == code, output
        return output


@pytest.fixture
def terminal(sandbox: RunningSandbox, tmp_path: Path) -> Terminal:
    key = tmp_path / "key"
    key.write_text(KEY)
    key.chmod(0o600)
    end = "end: 2026-02-04"
    for number, text in enumerate((STUDY, ACCOUNTS)):
        write(tmp_path / "studies" / str(number), text.replace("end: 2026-02-10", end) + "pseudonymous: true\n")
    names = {
        "root": str(tmp_path / "data"),
        "studies": str(tmp_path / "studies"),
        "api_url": sandbox.url,
        "client_key": sandbox.app.config.client_key,
        "client_secret": sandbox.app.config.client_secret,
        "rate_limit": "10000",
        "page_size": "20",
        "pseudonym_key_file": str(key),
    }
    return Terminal({VARIABLES[name].name: value for name, value in names.items()})


def test_killed_and_resumed_studies_leave_no_handle_anywhere(terminal: Terminal, sandbox: RunningSandbox) -> None:
    settings = Settings.from_env(terminal.environment)
    prepare_root(settings)
    kill: Kill = sandbox.app.kill  # type: ignore[attr-defined]
    handles = {*PANEL, MENTIONED, *(sandbox.app.world.accounts[index].username for index in POSTING)}
    printed = []
    kill.at_request = 15
    kill.process = terminal.start("collect", "--no-build")
    printed.append(kill.process.communicate()[0])
    assert kill.process.returncode == -signal.SIGKILL
    kill.process = None
    assert list(settings.captures.rglob("*.jsonl"))
    assert found_handles(settings.root, handles) == []

    printed.append(terminal.run("collect"))
    assert set(PANEL) <= kill.asked
    assert not [name for name in kill.asked if name.startswith("p_")]
    for words in (("status",), ("plan",), ("report",), ("export",), ("export", "--pseudonymous"), ("verify-files",)):
        printed.append(terminal.run(*words))
    assert found_handles(settings.root, handles) == []
    assert find(settings.root, (KEY,)) == []
    shown = "\n".join(printed).casefold()
    assert [name for name in handles if "_" in name and name in shown] == []
    assert KEY not in shown

    pseudonym = Pseudonyms(bytes.fromhex(KEY)).of
    with duckdb.connect(str(settings.warehouse), read_only=True) as marts:
        joined = "SELECT count(*) FROM marts.videos JOIN marts.users USING (username)"
        [(n_joined,)] = marts.execute(joined).fetchall()
        sources = {name for (name,) in marts.execute("SELECT DISTINCT source_username FROM marts.follows").fetchall()}
        mentions = {name for (name,) in marts.execute("SELECT unnest(mentions) FROM marts.videos").fetchall()}
    assert n_joined
    assert pseudonym("sandbox_popular") in sources
    assert all(name.startswith("p_") for name in mentions)
    readmes = [path.read_text() for path in sorted(settings.exports.glob("*/README.md"))]
    assert ["pseudonyms of this export replace the stored ones" in text for text in readmes] == [False, True]
    assert all("collected without handles" in text for text in readmes)

    # The study file is refused without its key, and nothing is collected.
    sent = kill.requests
    other = Terminal(terminal.environment | {VARIABLES["pseudonym_key"].name: "7c" * 32})
    assert "collected with another key" in other.run("collect", code=1)
    without = Terminal(terminal.environment | {VARIABLES["pseudonym_key_file"].name: ""})
    assert "neither RESEARCH_PSEUDONYM_KEY nor" in without.run("collect", code=1)
    assert kill.requests == sent
    assert ": account 1, video " in terminal.run("forget", "--username", "@Sandbox_Popular", "--yes")
    assert find(settings.root, (pseudonym("sandbox_popular"), "sandbox_popular")) == []
