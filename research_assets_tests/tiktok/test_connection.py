"""Proxies and certificates of the environment: each works, or is one sentence without the password in it."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner

from research_assets.alerts import post_webhook
from research_assets.cli import main
from research_assets.clock import SystemClock
from research_assets.sandbox.server import run_in_thread
from research_assets.settings import Settings
from research_assets.tiktok.client import Client
from research_assets.tiktok.connection import ConnectionSettingsError, connection_options
from research_assets.tiktok.errors import ApiError

API = "https://open.tiktokapis.com"
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
UNUSABLE = {
    "ALL_PROXY": (
        "socks4://u:s3cret@127.0.0.1:1",
        "http://[::1",
        "http://u:s3cret@h:port",
        "ftp://u:s3cret@h",
        "http://",
    ),
    "HTTPS_PROXY": (
        "http://u:s3cret@h:99999",
        "http://pr\u00f6 xy:1",
        "http://h:0",
        "file:///etc/passwd",
        "://x",
        "\x7f",
    ),
    "SSL_CERT_FILE": ("/nonexistent/ca.pem", "/etc/passwd", "/etc", "/tmp/\udcff"),
    "SSLKEYLOGFILE": ("/nonexistent/keys",),
}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*PROXIES, "SSL_CERT_FILE", "SSL_CERT_DIR", "SSLKEYLOGFILE"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in UNUSABLE.items() for value in values])
def test_value_that_cannot_be_used_is_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    environment = {"TIKTOK_API_URL": API, "TIKTOK_CLIENT_KEY": "key", "TIKTOK_CLIENT_SECRET": "secret"}
    result = CliRunner().invoke(main, ["check-api"], env=environment)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("Error: The ")
    assert name in result.stderr
    assert "No request was sent" in result.stderr
    assert "s3cret" not in result.output
    # A failed alert must not hide the failure that it reports.
    settings = Settings.from_env({"RESEARCH_ALERT_WEBHOOK": "https://chat.example/x"})
    assert post_webhook(settings, "text") == "not reached (ConnectionSettingsError)"
    # The sandbox needs neither.
    connection_options("http://127.0.0.1:8080")


@pytest.mark.parametrize(
    "entries",
    ["fe80::/10", "localhost,::1,127.0.0.0/8,fd00::/8", "[::1]:80,a b,http://[,%", "*.example,.org,,:", "10.0.0.0/33"],
)
def test_networks_in_no_proxy_are_no_error(monkeypatch: pytest.MonkeyPatch, entries: str) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", entries)
    assert connection_options(API)["proxy"].url == "http://proxy.example:3128"


@pytest.mark.parametrize(
    ("host", "entries"),
    [
        ("open.tiktokapis.com", "*"),
        ("open.tiktokapis.com", "fe80::/10, .tiktokapis.com"),
        ("open.tiktokapis.com", "*.TikTokAPIs.com"),
        ("open.tiktokapis.com", "open.tiktokapis.com:443"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("[fd00::5]", "fd00::/8"),
        ("[fd00::5]", "[fd00::5]"),
    ],
)
def test_excluded_host_has_no_proxy(monkeypatch: pytest.MonkeyPatch, host: str, entries: str) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    assert connection_options(f"https://{host}")["proxy"] is not None
    monkeypatch.setenv("NO_PROXY", entries)
    assert connection_options(f"https://{host}")["proxy"] is None


def test_own_certificates_are_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import certifi

    lines = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----")
    (tmp_path / "ca.pem").write_text(lines[0] + lines[1] + "\n")
    assert len(connection_options(API)["verify"].get_ca_certs()) > 10
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    assert len(connection_options(API)["verify"].get_ca_certs()) == 1


def test_invalid_value_names_the_variable_and_not_the_password() -> None:
    patch = pytest.MonkeyPatch()
    patch.setenv("ALL_PROXY", "socks4://user:s3cret@proxy")
    try:
        with pytest.raises(ConnectionSettingsError, match="proxy in ALL_PROXY") as caught:
            connection_options(API)
    finally:
        patch.undo()
    assert "s3cret" not in repr(caught.value)
    assert caught.value.__cause__ is None


@contextmanager
def socks_proxy(target: tuple[str, int]) -> Iterator[tuple[str, list[bytes]]]:
    """Run a SOCKS5 proxy that connects every host to `target`; yield its address and the requested hosts."""
    hosts: list[bytes] = []

    def forward(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve(client: socket.socket) -> None:
        with client:
            client.recv(2 + 255)
            client.sendall(b"\x05\x00")
            request = client.recv(262)
            hosts.append(request[5 : 5 + request[4]])
            client.sendall(b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x00")
            with socket.create_connection(target) as server:
                threading.Thread(target=forward, args=(server, client), daemon=True).start()
                forward(client, server)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"socks5://127.0.0.1:{listener.getsockname()[1]}", hosts
        listener.shutdown(socket.SHUT_RDWR)


def test_requests_go_through_a_socks_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fetch(address: str) -> None:
        async with Client(key="key", secret="secret", base_url=address, clock=SystemClock()) as client:
            await client.token()

    with run_in_thread() as sandbox:
        port = httpx.URL(sandbox.url).port
        assert port is not None
        with socks_proxy(("127.0.0.1", port)) as (proxy, hosts):
            monkeypatch.setenv("ALL_PROXY", proxy)
            # The sandbox answers, but refuses other host names than its own.
            with pytest.raises(ApiError, match="HTTP 403"):
                asyncio.run(fetch("http://api.example"))
    assert hosts == [b"api.example"]
