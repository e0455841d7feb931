"""The sandbox over real HTTP on loopback."""

import socket
import subprocess
import sys
from datetime import UTC, datetime

import httpx
import pytest
from click.testing import CliRunner

from research_assets.sandbox.config import DateHeader, SandboxConfig
from research_assets.sandbox.server import PortInUse, command, run_in_thread
from research_assets_tests.sandbox.client import ANYTHING, FORM


def test_server_answers_over_http() -> None:
    with run_in_thread(SandboxConfig(fixed_volume=150, start_time=datetime(2026, 3, 1, tzinfo=UTC))) as sandbox:
        with httpx.Client(base_url=sandbox.url) as http:
            token = http.post("/v2/oauth/token/", data=FORM).json()["access_token"]
            answer = http.post(
                "/v2/research/video/query/?fields=id",
                json={"query": ANYTHING, "start_date": "20260201", "end_date": "20260201", "max_count": 100},
                headers={"Authorization": f"Bearer {token}"},
            )
            assert len(answer.json()["data"]["videos"]) == 100
            assert answer.headers.get_list("date")[0].startswith("Sun, 01 Mar 2026")
            assert len(answer.headers.get_list("date")) == 1
            assert "simulated" in http.get("/").text
        assert sandbox.state["pools"]["research"]["used"] == 1
        assert sandbox.url.startswith("http://127.0.0.1:")
    with pytest.raises(httpx.ConnectError):
        httpx.get(sandbox.url)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1.evil.example:{port}", "", "localhost@x"]
)
def test_server_refuses_another_host_name_and_counts_no_request(host: str) -> None:
    with run_in_thread(SandboxConfig()) as sandbox:
        headers = {"Host": host.format(port=sandbox.url.rpartition(":")[2])}
        for answer in (
            httpx.get(f"{sandbox.url}/sandbox/state", headers=headers),
            httpx.post(f"{sandbox.url}/sandbox/reset", headers=headers),
            httpx.post(f"{sandbox.url}/v2/oauth/token/", data=FORM, headers=headers),
        ):
            assert answer.status_code == 403
            assert "sandbox-secret" not in answer.text
        assert sandbox.state["requests"] == {}
        assert httpx.get(f"{sandbox.url}/", headers={"Host": "LocalHost:1"}).status_code == 200


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("right", ["Sun, 01 Mar 2026 12:00:00 GMT"] * 3),
        ("wrong", ["Sun, 01 Mar 2026 13:00:00 GMT", "Sun, 01 Mar 2026 11:00:00 GMT", "yesterday"]),
        ("absent", []),
        ("shifted", ["Sun, 01 Mar 2026 09:00:00 GMT"] * 3),
        ("garbage", ["ÿ, 31 Feb -1 99:99"] * 3),
        ("double", ["Sun, 01 Mar 2026 12:00:00 GMT", "Sun, 01 Mar 2026 13:00:00 GMT"] * 3),
        ("year_1970", ["Thu, 01 Jan 1970 00:00:00 GMT"] * 3),
        ("year_9999", ["Fri, 31 Dec 9999 23:59:59 GMT"] * 3),
    ],
)
def test_date_header_is_right_wrong_or_absent(kind: DateHeader, expected: list[str]) -> None:
    config = SandboxConfig(date_header=kind, date_offset=-10_800, start_time=datetime(2026, 3, 1, 12, tzinfo=UTC))
    with run_in_thread(config) as sandbox:
        sandbox.clock.set(datetime(2026, 3, 1, 12, tzinfo=UTC))
        sandbox.clock.stop()
        answers = [
            httpx.post(f"{sandbox.url}/v2/oauth/token/", data=FORM),
            httpx.post(f"{sandbox.url}/v2/research/user/info/", json={}),
            httpx.get(f"{sandbox.url}/sandbox/state"),
        ]
    assert [answer.status_code for answer in answers] == [200, 401, 200]
    assert [date for answer in answers for date in answer.headers.get_list("date")] == expected


def test_some_answers_have_a_wrong_date_header() -> None:
    config = SandboxConfig(date_header="year_1970", date_answers=frozenset({2}))
    with run_in_thread(config) as sandbox:
        years = [httpx.get(sandbox.url).headers["date"].split()[3] for _ in range(3)]
        now = f"{sandbox.clock.now():%Y}"
    assert years == [now, "1970", now]


def test_unknown_date_header_is_refused() -> None:
    with pytest.raises(ValueError, match="right, wrong, shifted, absent"):
        SandboxConfig(date_header="late")  # type: ignore[arg-type]


def test_two_sandboxes_are_independent() -> None:
    with run_in_thread(SandboxConfig(fixed_volume=1)) as one, run_in_thread(SandboxConfig(fixed_volume=2)) as other:
        httpx.post(f"{one.url}/v2/oauth/token/", data=FORM)
        assert one.state["requests"] == {"oauth/token": 1}
        assert other.state["requests"] == {}


def test_port_in_use_is_reported() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(PortInUse, match="--port"), run_in_thread(port=port):
            pass
        result = CliRunner().invoke(command, ["--port", str(port)])
    assert result.exit_code == 1
    assert f"could not listen on port {port}" in result.output


def test_command_refuses_an_invalid_option() -> None:
    assert CliRunner().invoke(command, ["--profile", "nasty"]).exit_code == 2
    result = CliRunner().invoke(command, ["--fixed-volume", "9999999"])
    assert result.exit_code == 1
    assert "between 0 and 1,000,000" in result.output


@pytest.mark.integration
def test_module_serves_and_prints_its_variables() -> None:
    options = ["--port", "0", "--fixed-volume", "3", "--start-time", "2026-03-01", "--quota", "7"]
    server = subprocess.Popen(
        [sys.executable, "-m", "research_assets.sandbox", *options], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        output = ""
        for line in server.stdout:
            output += line
            if "Ctrl-C" in line:
                break
        url = next(line for line in output.splitlines() if "TIKTOK_API_URL" in line).split("=")[1]
        state = httpx.get(f"{url}/sandbox/state").json()
        assert state["pools"]["research"]["cap"] == 7
        assert state["now"].startswith("2026-03-01T00:00")
        assert "sandbox-key" in output
    finally:
        server.terminate()
        server.wait(20)
        if server.stdout:
            server.stdout.close()
