"""The server delivers reports by name on the loopback interface, and nothing else."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from research_assets.report.serve import serve_reports


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "reports"
    folder.mkdir()
    (folder / "garden.html").write_text("<p>Gärten</p>")
    (folder / ".half.html").write_text("half")
    (tmp_path / "secret.html").write_text("secret")
    with serve_reports(folder) as served:
        yield served


def test_server_delivers_reports_and_their_list(address: str) -> None:
    response = httpx.get(f"{address}/garden.html")
    assert response.text == "<p>Gärten</p>"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["cache-control"] == "no-store"
    assert 'href="garden.html"' in httpx.get(f"{address}/").text
    assert ".half" not in httpx.get(f"{address}/").text


@pytest.mark.parametrize("path", ["/other.html", "/.half.html", "/../secret.html", "/%2e%2e/secret.html"])
def test_server_delivers_no_other_file(address: str, path: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    # Over a socket, because HTTP clients normalize such paths before sending.
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        response = b"".join(iter(lambda: connection.recv(65536), b""))
    assert response.startswith(b"HTTP/1.0 404")
    assert b"materialize the asset" in response


def test_server_rejects_another_host_name(address: str) -> None:
    response = httpx.get(f"{address}/garden.html", headers={"Host": "evil.example:3001"})
    assert response.status_code == 403
    assert "Gärten" not in response.text


def test_server_listens_on_loopback_only(address: str) -> None:
    assert address.startswith("http://127.0.0.1:")


def test_server_starts_without_the_folder(tmp_path: Path) -> None:
    with serve_reports(tmp_path / "later") as served:
        assert httpx.get(f"{served}/").status_code == 200


def test_server_fails_if_the_port_is_in_use(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="in use"),
        serve_reports(tmp_path, taken.getsockname()[1]),
    ):
        pass
