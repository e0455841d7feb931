"""The server delivers reports by name on the loopback interface, and nothing else."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research_assets.report.serve import serve_reports


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Reports, and files that are none, next to a secret."""
    root = tmp_path_factory.mktemp("served")
    folder = root / "reports"
    folder.mkdir()
    (root / "secret.html").write_text("secret")
    (folder / "garden.html").write_text("<p>Gärten</p>")
    (folder / "latin.html").write_bytes(b"<p>G\xe4rten</p>")
    (folder / ".half.html").write_text("half")
    (folder / "notes.txt").write_text("secret")
    (folder / "link.html").symlink_to(root / "secret.html")
    (folder / "inside.html").symlink_to(folder / "notes.txt")
    (folder / "linked").symlink_to(root)
    (folder / "folder.html").mkdir()
    os.mkfifo(folder / "pipe.html")
    (folder / "javascript:alert(1).html").write_text("secret")
    (folder / os.fsdecode(b"\xff\xfe.html")).write_text("secret")
    return folder


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    with serve_reports(folder) as served:
        yield served


def exchange(address: str, request: bytes) -> bytes:
    """Return the whole answer to these bytes. Over a socket, because HTTP clients normalize requests."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def get(address: str, path: bytes, *headers: bytes) -> bytes:
    lines = headers or (b"Host: " + address.removeprefix("http://").encode(),)
    return exchange(address, b"\r\n".join([b"GET " + path + b" HTTP/1.1", *lines, b"", b""]))


def test_server_delivers_reports_and_their_list(address: str) -> None:
    response = httpx.get(f"{address}/garden.html")
    assert response.text == "<p>Gärten</p>"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["cache-control"] == "no-store"
    names = httpx.get(f"{address}/").text
    assert names == (
        '<title>Reports</title><ul><li><a href="garden.html">garden.html</a></li>'
        '<li><a href="latin.html">latin.html</a></li></ul>'
    )


def test_server_delivers_a_file_that_is_not_utf8_as_it_is(address: str) -> None:
    assert httpx.get(f"{address}/latin.html").content == b"<p>G\xe4rten</p>"


@pytest.mark.parametrize(
    "path",
    [
        *(b"/other.html", b"/.half.html", b"/notes.txt", b"/folder.html", b"/pipe.html"),
        *(b"/link.html", b"/inside.html", b"/linked/secret.html"),
        *(b"/../secret.html", b"/%2e%2e/secret.html", b"/..%2fsecret.html", b"/..\\secret.html", b"//../secret.html"),
        *(b"/garden.html/", b"/garden.html/../../secret.html", b"/garden.html%00.html", b"/g%61rden.html"),
        *(b"/\xff\xfe.html", b"/%ff%fe.html", b"/\xc3\xa4.html", b"/" + b"a" * 300 + b".html", b"/garden.html\x00"),
        *(b"http://127.0.0.1/garden.html", b"garden.html%0d%0aSet-Cookie:x=1", b"/javascript:alert(1).html"),
    ],
)
def test_server_delivers_no_other_file(address: str, path: bytes) -> None:
    response = get(address, path)
    assert response.startswith(b"HTTP/1.0 404"), response
    assert b"materialize the asset" in response
    assert b"secret" not in response
    assert b"Set-Cookie" not in response


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"\xff\xfe\x00\r\n\r\n", 400),
        (b"GET / HTTP/9.9\r\n\r\n", 505),
        (b"GET / HTTP/1.\xb2\r\n\r\n", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 70_000 + b"\r\n\r\n", 431),
        (b"POST / HTTP/1.1\r\nContent-Length: 300000\r\n\r\n" + b"x" * 300_000, 501),
        (b"<script>alert(1)</script> / HTTP/1.1\r\n\r\n", 501),
    ],
)
def test_server_answers_garbage_with_an_error(address: str, request_bytes: bytes, status: int) -> None:
    response = exchange(address, request_bytes)
    assert response.startswith(f"HTTP/1.0 {status} ".encode()), response[:100]
    assert b"Content-Security-Policy" in response
    assert b"<script>" not in response


@given(st.binary(max_size=200))
def test_server_survives_any_bytes(address: str, request_bytes: bytes) -> None:
    response = exchange(address, request_bytes)
    assert b"secret" not in response
    assert b"<p>G" not in response
    assert not response or response.startswith((b"HTTP/1.0 4", b"HTTP/1.0 5"))


def test_server_survives_a_client_that_goes_away(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    host, port = address.removeprefix("http://").split(":")
    for _ in range(5):
        with socket.create_connection((host, int(port))) as connection:
            # Closing resets the connection, because of this option.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
            connection.sendall(f"GET /garden.html HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    assert httpx.get(f"{address}/garden.html").status_code == 200
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "host",
    [
        *(b"Host: evil.example:3001", b"Host: 127.0.0.1.evil.example", b"Host: localhost.evil.example:80"),
        *(b"Host: evil.example\r\nHost: localhost", b"Host: localhost\r\nHost: evil.example", b"Host:", b"X: y"),
        *(b"Host: evil@127.0.0.1", b"Host: \xff", b"Host: 127.0.0.1:80:80"),
    ],
)
def test_server_rejects_another_host_name(address: str, host: bytes) -> None:
    response = get(address, b"/garden.html", host)
    assert response.startswith(b"HTTP/1.0 403"), response
    assert b"<p>G" not in response


@pytest.mark.parametrize("host", [b"Host: localhost", b"Host: LOCALHOST:4001", b"Host: 127.0.0.1"])
def test_server_accepts_its_own_names_with_any_port(address: str, host: bytes) -> None:
    assert get(address, b"/garden.html", host).startswith(b"HTTP/1.0 200")


def test_head_has_no_content(address: str) -> None:
    response = httpx.head(f"{address}/garden.html")
    assert response.status_code == 200
    assert response.headers["content-length"] == str(len("<p>Gärten</p>".encode()))
    assert response.content == b""


def test_server_listens_on_loopback_only(address: str) -> None:
    assert address.startswith("http://127.0.0.1:")


def test_server_starts_without_the_folder(tmp_path: Path) -> None:
    with serve_reports(tmp_path / "later") as served:
        assert httpx.get(f"{served}/").status_code == 200
        assert httpx.get(f"{served}/garden.html").status_code == 404
        (tmp_path / "later").mkdir()
        (tmp_path / "later" / "garden.html").write_text("now")
        assert httpx.get(f"{served}/garden.html").text == "now"


class BrokenPages:
    """Pages whose data cannot be read, and whose error contains hostile text."""

    def names(self) -> list[str]:
        """Return the name of a page."""
        return ["broken-coverage.html"]

    def render(self, name: str) -> bytes | None:
        """Fail for the page."""
        if name in self.names():
            raise OSError("<script>alert('hostile')</script>")
        return None


def test_page_that_cannot_be_rendered_says_why_and_the_server_goes_on(folder: Path) -> None:
    with serve_reports(folder, live=BrokenPages()) as address:
        answer = httpx.get(f"{address}/broken-coverage.html")
        assert answer.status_code == 503
        assert "OSError: &lt;script&gt;" in answer.text
        assert "<script>" not in answer.text
        assert httpx.get(f"{address}/garden.html").text == "<p>Gärten</p>"
        assert 'href="broken-coverage.html"' in httpx.get(f"{address}/").text
        assert httpx.get(f"{address}/../broken-coverage.html%00").status_code == 404


def test_server_fails_if_the_port_is_in_use(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="in use"),
        serve_reports(tmp_path, taken.getsockname()[1]),
    ):
        pass
