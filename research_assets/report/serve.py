"""HTTP server for reports, on the loopback interface only.

A browser does not follow links from a page of Dagster's UI to a file, so `research-assets ui` serves the reports. The
server answers requests for the reports of one folder, for pages that are rendered on request, and for nothing else.
Anyone who can open the UI can open them.
Not here: the process that starts it (see cli/ui.py); the rendered pages (see coverage_board.py).
"""

import os
import re
import socket
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

from research_assets.text import html_text

HOST = "127.0.0.1"

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Connection": "close",
}
"""Headers of every response: only the page's own style, font and pictures are allowed; no script runs, nothing is
fetched."""

_REPORT_NAME = re.compile(r"[a-z][a-z0-9_-]*\.html", re.ASCII)
"""Names of reports and of the codebook. No name needs an escape in an address or in HTML, and none is a path."""

_IDLE_SECONDS = 10
"""Seconds without a byte after which the server closes a connection."""

_MAX_UNREAD_BYTES = 1_000_000
"""Bytes of a request that the server reads and discards after its answer."""


class LivePages(Protocol):
    """Pages that are rendered on request. Their names are names of reports; they take precedence over files."""

    def names(self) -> list[str]:
        """Return the names of all pages."""
        ...

    def render(self, name: str) -> bytes | None:
        """Return the page of this name; None if there is none. An error becomes an answer that says so."""
        ...


@contextmanager
def serve_reports(folder: Path, port: int = 0, live: LivePages | None = None) -> Iterator[str]:
    """Serve the reports of a folder within a `with` block and yield the address. Port 0 selects a free port.

    The folder may be created later. Raise OSError if the port is in use.
    """
    server = _Server((HOST, port), _handler(folder, live))
    thread = threading.Thread(target=server.serve_forever, name="reports", daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def shutdown_request(self, request: Any) -> None:
        """Close a connection after the client has read the answer.

        A socket that is closed with unread bytes resets the connection, and the client may lose the answer.
        """
        with suppress(OSError):
            request.settimeout(1)
            request.shutdown(socket.SHUT_WR)
            unread = 0
            while unread < _MAX_UNREAD_BYTES and (received := request.recv(65536)):
                unread += len(received)
        self.close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log nothing for a client that went away: a traceback in the terminal of the UI helps nobody."""


def list_reports(folder: Path) -> list[str]:
    """Return the names of the reports in a folder, sorted. A symbolic link is no report."""
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if _REPORT_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False)
        )
    return []


def read_report(folder: Path, name: str) -> bytes | None:
    """Return the content of a report; None if the folder has no regular file of that name, or if it is no report's."""
    if not _REPORT_NAME.fullmatch(name):
        return None
    path = folder / name
    try:
        # A link could point to any file of this user. Without O_NONBLOCK a named pipe would wait for its writer.
        with open(
            path, "rb", opener=lambda file, _: os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        ) as file:
            return file.read() if stat.S_ISREG(os.fstat(file.fileno()).st_mode) else None
    except OSError:
        return None


def _handler(folder: Path, live: LivePages | None) -> type[BaseHTTPRequestHandler]:
    # One page at a time: a large one takes a second of processor time, and a browser may ask again and again.
    rendering = threading.Lock()

    class Reports(BaseHTTPRequestHandler):
        """Handles requests for `/` and `/<study>.html`. Every connection has one request."""

        server_version = "reports"
        sys_version = ""
        timeout = _IDLE_SECONDS

        def do_GET(self) -> None:
            """Send a report, or the list of reports."""
            # DNS rebinding: a foreign page could reach this server under a host name that resolves to this machine.
            hosts = self.headers.get_all("Host", [])
            if [re.sub(":[0-9]*$", "", host.strip()).lower() for host in hosts] not in ([HOST], ["localhost"]):
                self._answer(HTTPStatus.FORBIDDEN, b"<p>This server accepts requests for its own address only.</p>")
                return
            name = self.path.partition("?")[0].removeprefix("/")
            try:
                names = live.names() if live and not name else []
                with rendering:
                    page = live.render(name) if live and _REPORT_NAME.fullmatch(name) else None
            except Exception as error:
                # Whatever is wrong with the data, the server must answer and go on.
                reason = escape(html_text(f"{type(error).__name__}: {error}"))
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE, (_ERROR_PAGE + reason).encode())
                return
            if page is not None:
                self._answer(HTTPStatus.OK, page)
            elif not name:
                reports = sorted({*list_reports(folder), *names})
                links = "".join(f'<li><a href="{one}">{one}</a></li>' for one in reports)
                listing = f"<title>Reports</title><ul>{links}</ul>" if links else _NOT_FOUND_PAGE
                self._answer(HTTPStatus.OK, listing.encode())
            elif (content := read_report(folder, name)) is not None:
                self._answer(HTTPStatus.OK, content)
            else:
                self._answer(HTTPStatus.NOT_FOUND, _NOT_FOUND_PAGE.encode())

        def do_HEAD(self) -> None:
            """Send the headers of what GET sends."""
            self.do_GET()

        def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
            """Answer a request that cannot be understood, without a part of it in the answer."""
            status = HTTPStatus(code)
            # Without it, an answer to a line that is not HTTP would have no status and no headers.
            self.request_version = "HTTP/1.0"
            self._answer(status, f"<title>{status.phrase}</title><p>{status.phrase}.</p>".encode())

        def _answer(self, status: HTTPStatus, content: bytes) -> None:
            self.close_connection = True
            self.send_response(status)
            for header, value in HEADERS.items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Log nothing: requests for reports are of no use in the terminal of the UI."""

    return Reports


_ERROR_PAGE = (
    "<!doctype html><title>No page</title><p>The page cannot be rendered, because the data cannot be read now. Reload "
    "it; if the error stays, run <code>research-assets status</code>.</p><p>"
)
_NOT_FOUND_PAGE = (
    "<!doctype html><title>No report</title><p>This report does not exist. To write it, materialize the asset "
    "<code>report</code> of the study in Dagster's UI, or run <code>research-assets report</code>.</p>"
)
