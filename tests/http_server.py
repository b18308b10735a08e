"""A real HTTP server on 127.0.0.1 that answers what a test tells it to.

    with serve([Reply(status=503), Reply({"data": []})]) as server:
        ...  # talk to server.url
    assert [seen.path for seen in server.seen] == ["/v1/files", "/v1/files"]

Instead of a list it takes a function from what was asked to the answer.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True)
class Reply:
    """One answer. `body`: bytes and text as they are, anything else as JSON."""

    body: Any = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    #: The Content-Length to announce instead of the true one.
    announced: int | None = None
    #: Send in chunks; False at the end of the tuple leaves out the closing one.
    chunks: tuple[bytes | bool, ...] = ()
    #: Close the connection without a word.
    is_dropped: bool = False
    #: Seconds before the answer, and between its head and its body.
    delay: float = 0.0
    body_delay: float = 0.0

    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@dataclass(frozen=True)
class Seen:
    """One request as it came in."""

    method: str
    #: Percent-encoded as sent, no query; a whole URL when we are used as a proxy.
    path: str
    query: list[tuple[str, str]]
    #: The query as sent.
    raw_query: str
    headers: dict[str, str]
    #: What was sent with a POST.
    body: bytes = b""


Script = Sequence[Reply] | Callable[[Seen], Reply]


class Server(ThreadingHTTPServer):
    """Answers by a script and remembers what was asked."""

    # Threads are joined at the end, so that no socket outlives the test.
    daemon_threads = False

    def __init__(self, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[Seen] = []
        self._script = script
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    @property
    def url(self) -> str:
        """A base URL, as `http://127.0.0.1:40000/v1`."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def paths(self) -> list[str]:
        """The paths asked for."""
        return [seen.path for seen in self.seen]

    def answer(self, seen: Seen) -> Reply:
        with self._lock:
            self.seen.append(seen)
            number = len(self.seen)
        if callable(self._script):
            return self._script(seen)
        if number > len(self._script):
            return Reply(f"request {number} is not in the script", status=418)
        return self._script[number - 1]

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.append(request)
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that go away in the middle, which tests make them do."""

    def hang_up(self) -> None:
        """End every connection, also those that are kept alive."""
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one packet: nothing waits for a delayed acknowledgement.
    wbufsize = -1
    server: Server

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_CONNECT(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        pass

    def _answer(self) -> None:
        url = urlsplit(self.path)
        path = self.path.partition("?")[0]
        query = parse_qsl(url.query, keep_blank_values=True)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        reply = self.server.answer(Seen(self.command, path, query, url.query, headers, body))
        time.sleep(reply.delay)
        if reply.is_dropped:
            self.close_connection = True
            return
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        content = reply.content()
        self.send_response(reply.status)
        for name, value in {"Content-Type": "application/json", **reply.headers}.items():
            self.send_header(name, value)
        if reply.chunks:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            length = len(content) if reply.announced is None else reply.announced
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if reply.body_delay:
            self.wfile.flush()
            time.sleep(reply.body_delay)
        for chunk in reply.chunks:
            if isinstance(chunk, bytes):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        if reply.chunks and reply.chunks[-1] is not False:
            self.wfile.write(b"0\r\n\r\n")
        if not reply.chunks:
            self.wfile.write(content)
        self.wfile.flush()
        is_cut = reply.announced is not None or (reply.chunks and reply.chunks[-1] is False)
        self.close_connection = self.close_connection or bool(is_cut)


@contextlib.contextmanager
def serve(script: Script) -> Iterator[Server]:
    """A server that runs while the block does."""
    server = Server(script)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.hang_up()
        server.server_close()
