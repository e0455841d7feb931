"""Reports over HTTP on this machine alone, because a browser follows no link from a page of the UI to a file.

Serves the finished reports of one folder, by their names, and nothing else. Who may open the UI may open them.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""With every answer: a report needs its own style and pictures, and nothing else may run or be fetched."""


@contextmanager
def serve_reports(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve the reports of a folder while the block lasts; gives the address. Port 0 takes a free one.

    The folder need not be there yet. Raises OSError if the port is taken.
    """
    server = ThreadingHTTPServer((HOST, port), _handler(folder))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="reports", daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(folder: Path) -> type[BaseHTTPRequestHandler]:
    class Reports(BaseHTTPRequestHandler):
        """Answers GET for `/` and `/<study>.html`."""

        server_version = "reports"
        sys_version = ""

        def do_GET(self) -> None:
            """One report, or the list of them."""
            # A page from elsewhere could reach this server under a name of its own that resolves to this machine.
            host, _, _ = self.headers.get("Host", "").rpartition(":")
            if host not in (HOST, "localhost"):
                self._answer(HTTPStatus.FORBIDDEN, "<p>This server answers to its own address only.</p>")
                return
            name = self.path.partition("?")[0].removeprefix("/")
            found = {path.name: path for path in folder.glob("*.html") if not path.name.startswith(".")}
            if name in found:
                self._answer(HTTPStatus.OK, found[name].read_text())
            elif not name:
                links = "".join(f'<li><a href="{escape(one)}">{escape(one)}</a></li>' for one in sorted(found))
                self._answer(HTTPStatus.OK, f"<title>Reports</title><ul>{links}</ul>" if links else _NOT_FOUND_PAGE)
            else:
                self._answer(HTTPStatus.NOT_FOUND, _NOT_FOUND_PAGE)

        def _answer(self, status: HTTPStatus, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            for header, value in HEADERS.items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: names of studies in a terminal help nobody."""

    return Reports


_NOT_FOUND_PAGE = (
    "<!doctype html><title>No report</title><p>There is no such report. Write it: materialize the asset "
    "<code>report</code> of the study in Dagster's UI, or run <code>research-assets report</code>.</p>"
)
