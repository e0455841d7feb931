"""HTTP server for reports, on the loopback interface only.

A browser does not follow links from a page of Dagster's UI to a file, so `research-assets ui` serves the reports. The
server answers requests for the reports of one folder and for nothing else. Anyone who can open the UI can open them.
Not here: the process that starts it (see cli/ui.py).
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
"""Headers of every response: only the page's own style and pictures are allowed; no script runs, nothing is fetched."""


@contextmanager
def serve_reports(folder: Path, port: int = 0) -> Iterator[str]:
    """Serve the reports of a folder within a `with` block and yield the address. Port 0 selects a free port.

    The folder may be created later. Raise OSError if the port is in use.
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
        """Handles GET requests for `/` and `/<study>.html`."""

        server_version = "reports"
        sys_version = ""

        def do_GET(self) -> None:
            """Send a report, or the list of reports."""
            # DNS rebinding: a foreign page could reach this server under a host name that resolves to this machine.
            host, _, _ = self.headers.get("Host", "").rpartition(":")
            if host not in (HOST, "localhost"):
                self._answer(HTTPStatus.FORBIDDEN, "<p>This server accepts requests for its own address only.</p>")
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
            """Log nothing: requests for reports are of no use in the terminal of the UI."""

    return Reports


_NOT_FOUND_PAGE = (
    "<!doctype html><title>No report</title><p>This report does not exist. To write it, materialize the asset "
    "<code>report</code> of the study in Dagster's UI, or run <code>research-assets report</code>.</p>"
)
