"""Reports are served to this machine under their own names, and nothing else is."""

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


def test_a_report_and_the_list_of_them(address: str) -> None:
    answer = httpx.get(f"{address}/garden.html")
    assert answer.text == "<p>Gärten</p>"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["cache-control"] == "no-store"
    assert 'href="garden.html"' in httpx.get(f"{address}/").text
    assert ".half" not in httpx.get(f"{address}/").text


@pytest.mark.parametrize("path", ["/other.html", "/.half.html", "/../secret.html", "/%2e%2e/secret.html"])
def test_nothing_else_is_there(address: str, path: str) -> None:
    host, port = address.removeprefix("http://").split(":")
    # By hand, because clients tidy such paths before they ask.
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.0 404")
    assert b"materialize the asset" in answer


def test_a_page_from_elsewhere_cannot_ask_by_another_name(address: str) -> None:
    answer = httpx.get(f"{address}/garden.html", headers={"Host": "evil.example:3001"})
    assert answer.status_code == 403
    assert "Gärten" not in answer.text


def test_it_listens_on_this_machine_only(address: str) -> None:
    assert address.startswith("http://127.0.0.1:")


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    with serve_reports(tmp_path / "later") as served:
        assert httpx.get(f"{served}/").status_code == 200


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="in use"),
        serve_reports(tmp_path, taken.getsockname()[1]),
    ):
        pass
