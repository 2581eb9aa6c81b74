"""The report served to this machine alone, made anew while runs go on."""

import threading
import time
from collections.abc import Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from distributed_kd.errors import Problem, ResourceError, RunError
from distributed_kd.reports.report import texts

HERE = "127.0.0.1"
NAMES_OF_HERE = (HERE, "localhost")
"""What a browser on this machine may call it: a page from elsewhere whose name was made to lead here has another"""
REFRESH_SECONDS = 10
"""After which a browser asks again, while a run goes on"""
MOST_SHARE = 0.1
"""Of one core that making reports may take while they are asked for again and again"""
TYPES = {"html": "text/html", "csv": "text/csv", "json": "application/json"}


class Reports:
    """The report on runs as they are now, made anew at most every `REFRESH_SECONDS`, however many ask."""

    def __init__(self, folders: Sequence[Path], command: str):
        self._folders, self._command = list(folders), command
        self._lock = threading.Lock()
        self._texts: dict[str, str] = {}
        self._warned: set[str] = set()
        self._good_until = 0.0

    def now(self) -> dict[str, str]:
        """Name and text of each file. Raises RunError as `write_report`."""
        with self._lock:
            began = time.monotonic()
            if began >= self._good_until:
                self._texts = texts(self._folders, self._command, REFRESH_SECONDS, self._warned)
                ended = time.monotonic()
                self._good_until = ended + max(REFRESH_SECONDS / 2, (ended - began) / MOST_SHARE)
            return self._texts


def server(folders: Sequence[Path], port: int, command: str) -> ThreadingHTTPServer:
    """A server on 127.0.0.1 at the port, 0 for any that is free, whose `serve_forever` answers.

    Raises RunError where there is no run to report, ResourceError where the port cannot be had.
    """
    reports = Reports(folders, command)
    reports.now()
    try:
        return ThreadingHTTPServer((HERE, port), _answering(reports))
    except (OSError, OverflowError) as error:
        raise ResourceError(
            Problem("the report cannot be served", "port", port, str(error), "Give another --port, or 0 for any")
        ) from None


def _answering(reports: Reports) -> type[BaseHTTPRequestHandler]:
    class Answer(BaseHTTPRequestHandler):
        """GET of the page and of its figures; nothing else is there."""

        server_version, sys_version = "distributed_kd", ""

        def do_GET(self) -> None:
            if self.headers.get("Host", "").partition(":")[0] not in NAMES_OF_HERE:
                self._send(HTTPStatus.FORBIDDEN, "this report is for its own machine alone")
                return
            name = self.path.partition("?")[0].removeprefix("/") or "report.html"
            try:
                found = reports.now().get(name)
            except RunError as error:
                self._send(HTTPStatus.INTERNAL_SERVER_ERROR, error.lines[0])
                return
            if found is None:
                self._send(HTTPStatus.NOT_FOUND, "there are /, /report.csv and /report.json")
            else:
                self._send(HTTPStatus.OK, found, TYPES[name.rpartition(".")[2]])

        def _send(self, status: HTTPStatus, text: str, kind: str = "text/plain") -> None:
            content = text.encode("utf-8", "replace")
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """A line for each request would drive away what is told of runs."""

    return Answer
