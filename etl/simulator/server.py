"""A world behind real HTTP, on this machine only."""

from __future__ import annotations

import itertools
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.server import ThreadingHTTPServer
from socketserver import StreamRequestHandler
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.parse import unquote

from .control import Control, Tally
from .dice import mix
from .faults import Fault, Faults
from .routes import Request, Routes, template
from .spoil import Answer, error_answer, invalid_key, replaced, spoiled
from .world import World

_LONGEST_LINE = 65_536
_MOST_HEADERS = 200
#: Answers are kept until they take up so many bytes together.
_CACHE_BYTES = 256 << 20
_REASONS = {status.value: status.phrase for status in HTTPStatus}
_BASES = ("/openai/v1", "/openai", "/v1")
#: Parameters of the API, whose values the log shows.
_KNOWN_PARAMETERS = frozenset(
    {"after", "api-version", "bucket_width", "end_time", "group_by", "include_archived", "limit"}
    | {"metadata", "order", "page", "project_id", "purpose", "start_time"}
)


class _Head(NamedTuple):
    """The head of a request, header names in lower case."""

    method: str
    target: str
    version: str
    headers: dict[str, str]


class Simulator:
    """Serves a world on 127.0.0.1; `port` 0 takes a free one.

    `latency` is the time in seconds that every API answer takes longer. `log` is called with one
    line for each request; the lines hold no header, no key (some put theirs into the query) and no
    control characters. `unknown_after` says what a list does with a cursor it does not know:
    `empty` page, or `error` 404. `fault_seed`: what faults by chance are drawn from, the world's
    seed where it is not given.
    """

    def __init__(
        self,
        world: World,
        port: int = 0,
        latency: float = 0.0,
        faults: Iterable[Fault | str] = (),
        log: Callable[[str], None] | None = None,
        *,
        refused_keys: Iterable[str] = (),
        unknown_after: str = "empty",
        fault_seed: int | None = None,
    ) -> None:
        self.world = world
        self.faults = Faults(faults, world.seed if fault_seed is None else fault_seed)
        self.requests = Tally()
        self._port = port
        self._latency = latency
        self._log = log
        self._routes = Routes(world, refused_keys=refused_keys, unknown_after=unknown_after)
        self._control = Control(world, self.faults, self.requests)
        self._numbers = itertools.count(1)
        self._cache: dict[tuple[str, Request], Answer] = {}
        self._cache_lock = threading.Lock()
        self._cache_version, self._cache_size = world.version, 0
        self._lists: dict[str, bytes] = {}
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port in use; RuntimeError while the server is not running."""
        if self._server is None:
            raise RuntimeError("the simulator is not running")
        return int(self._server.server_address[1])

    @property
    def root(self) -> str:
        """The address of the server, to which the controls' paths are appended."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The base URL of the API."""
        return f"{self.root}/v1"

    def start(self) -> Self:
        """Begin to serve, in a thread."""
        if self._server is not None:
            raise RuntimeError("the simulator is running already")
        self._server = _Server(self, self._port)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="simulator", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """End, also while answers are under way. A second call does nothing."""
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is None or thread is None:
            return
        server.hang_up()
        server.shutdown()
        thread.join()
        server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # What the connections ask

    def api(self, head: _Head) -> tuple[Answer, Fault | None]:
        """The answer to an API request, and the fault that still has to spoil its sending."""
        request = _request(head, azure=self.world.provider == "azure")
        if request is None:
            return self._routes.answer(Request("/", "", "any")), None
        fault = self.faults.strike(request.path)
        if self.faults.revoked:
            return invalid_key(), None
        if head.method != "GET":
            body = b'{"error":{"message":"Not allowed to POST.","type":"invalid_request_error",'
            return Answer(405, body + b'"param":null,"code":"method_not_supported"}}'), None
        instead = replaced(fault) if fault else None
        if instead is not None:
            return instead, None
        answer = self._answer(request)
        if fault:
            answer = spoiled(fault, answer, self._lists.get(request.path))
        self._lists[request.path] = answer.body
        return answer, fault

    def control(self, head: _Head, body: bytes) -> Answer:
        """The answer to a request below `/__simulator`."""
        path, _, query = head.target.partition("?")
        return self._control.answer(head.method, path.removeprefix("/__simulator"), query, body)

    def extra_headers(self) -> str:
        """The headers that come with every API answer."""
        number = next(self._numbers)
        request_id = f"{mix(self.world.seed, number):016x}{mix(number):016x}"
        if self.world.provider == "azure":
            return f"apim-request-id: {request_id}\r\nx-request-id: {request_id}\r\n"
        return (
            f"x-request-id: req_{request_id}\r\nopenai-version: 2020-10-01\r\n"
            f"openai-processing-ms: {20 + mix(number) % 80}\r\n"
            "openai-organization: acme-robotics\r\n"
        )

    def record(self, head: _Head, outcome: str) -> None:
        """Count and log a request."""
        request = _request(head, azure=self.world.provider == "azure")
        self.requests.add(head.method, template(request.path) if request else "other", outcome)
        if self._log is not None:
            self._log(_harmless(f"{head.method} {_without_keys(head.target)} {outcome}"))

    @property
    def latency(self) -> float:
        """Seconds that every API answer takes longer."""
        return self._latency

    def _answer(self, request: Request) -> Answer:
        # A key's rights decide, not the key: the cache holds no key.
        role = self._routes.role(request.key)
        place = (role, request._replace(key=None))
        version = self.world.version
        if self._cache_version == version:
            known = self._cache.get(place)
            if known is not None:
                return known
        answer = self._routes.answer(request)
        with self._cache_lock:
            size = len(answer.body) + 500
            if self._cache_version != version or self._cache_size + size > _CACHE_BYTES:
                self._cache, self._cache_size, self._cache_version = {}, 0, version
            if version == self.world.version:
                self._cache[place] = answer
                self._cache_size += size
        return answer


class _Server(ThreadingHTTPServer):
    """The listening socket and its connections."""

    daemon_threads = False
    allow_reuse_address = True
    request_queue_size = 256

    def __init__(self, simulator: Simulator, port: int) -> None:
        self.simulator = simulator
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Connection)

    def server_bind(self) -> None:
        # The parent would look up this machine's name, which may take seconds.
        super(ThreadingHTTPServer, self).server_bind()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news; mistakes of ours were answered with a 500."""

    def enter(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.add(connection)
        if self.stopping.is_set():
            _shut(connection)

    def leave(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.discard(connection)

    def hang_up(self) -> None:
        """Wake every connection that waits for something."""
        self.stopping.set()
        with self._lock:
            for connection in self._connections:
                _shut(connection)


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        # It is closed already.
        return


class _Connection(StreamRequestHandler):
    """One connection, for as many requests as its client likes."""

    server: _Server
    disable_nagle_algorithm = True
    rbufsize = 65_536

    def setup(self) -> None:
        super().setup()
        self.server.enter(self.connection)

    def finish(self) -> None:
        self.server.leave(self.connection)
        super().finish()

    def handle(self) -> None:
        try:
            while not self.server.stopping.is_set() and self._one():
                pass
        except (ConnectionError, TimeoutError, ValueError):
            # The client went away or does not speak HTTP: there is nobody to tell.
            return

    def _one(self) -> bool:
        """Answer a request; False when the connection is to be closed."""
        head = self._read_head()
        if head is None:
            return False
        body = self.rfile.read(int(head.headers.get("content-length", "0")))
        keep = head.headers.get("connection", "").lower() != "close" and head.version == "HTTP/1.1"
        simulator = self.server.simulator
        if head.target.startswith("/__simulator"):
            self.connection.sendall(_packed(simulator.control(head, body), "", keep=keep))
            return keep
        try:
            answer, fault = simulator.api(head)
        except Exception as error:  # noqa: BLE001 - a mistake of ours must show on the other side
            message = f"The simulator itself failed: {error!r}"
            answer, fault = error_answer(500, message, "server_error"), None
        if simulator.latency:
            self.server.stopping.wait(simulator.latency)
        extra = simulator.extra_headers()
        if fault is None or fault.kind not in _SENDING:
            simulator.record(head, str(answer.status))
            self.connection.sendall(_packed(answer, extra, keep=keep))
            return keep
        silent = fault.kind in {"timeout", "reset"}
        simulator.record(head, fault.kind if silent else str(answer.status))
        _SENDING[fault.kind](self, fault, answer, extra)
        return False

    def _read_head(self) -> _Head | None:
        line = self.rfile.readline(_LONGEST_LINE)
        if not line.strip():
            return None
        method, target, version = line.decode("latin-1").split()
        headers: dict[str, str] = {}
        for _ in range(_MOST_HEADERS):
            line = self.rfile.readline(_LONGEST_LINE)
            if line in (b"\r\n", b"\n"):
                return _Head(method, target, version, headers)
            name, colon, value = line.decode("latin-1").partition(":")
            if not colon:
                return None
            headers[name.strip().lower()] = value.strip()
        return None

    # Faults in the sending

    def hang(self, fault: Fault, _answer: Answer, _extra: str) -> None:
        self.server.stopping.wait(float(fault.setting) if fault.setting else None)

    def drip(self, fault: Fault, answer: Answer, extra: str) -> None:
        packed = _packed(answer, extra, keep=False)
        start, pieces = len(packed) - len(answer.body), 20
        self.connection.sendall(packed[:start])
        size = max(1, -(-len(answer.body) // pieces))
        for at in range(start, len(packed), size):
            if self.server.stopping.wait(float(fault.setting) / pieces):
                return
            self.connection.sendall(packed[at : at + size])

    def cut(self, fault: Fault, answer: Answer, extra: str) -> None:
        packed = _packed(answer, extra, keep=False)
        kept = int(len(answer.body) * float(fault.setting))
        self.connection.sendall(packed[: len(packed) - len(answer.body) + kept])

    def reset(self, _fault: Fault, _answer: Answer, _extra: str) -> None:
        # Closing without lingering sends RST instead of a polite end.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def length(self, fault: Fault, answer: Answer, extra: str) -> None:
        length = max(0, len(answer.body) + int(fault.setting))
        self.connection.sendall(_packed(answer, extra, keep=False, length=length))


_SENDING: dict[str, Callable[[_Connection, Fault, Answer, str], None]] = {
    "timeout": _Connection.hang,
    "drip": _Connection.drip,
    "cut": _Connection.cut,
    "reset": _Connection.reset,
    "length": _Connection.length,
}


def _packed(answer: Answer, extra: str, *, keep: bool, length: int | None = None) -> bytes:
    """An answer as bytes, so that one call sends it all."""
    size = len(answer.body) if length is None else length
    lines = [
        f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Unknown')}",
        f"Content-Type: {answer.kind}",
        f"Content-Length: {size}",
        *(f"{name}: {value}" for name, value in answer.headers),
    ]
    if not keep:
        lines.append("Connection: close")
    return ("\r\n".join(lines) + f"\r\n{extra}\r\n").encode("latin-1") + answer.body


def _without_keys(target: str) -> str:
    """A request's path and query, in which only parameters that the API knows keep their values."""
    path, mark, query = target.partition("?")
    shown = []
    for pair in query.split("&"):
        name, equals, value = pair.partition("=")
        if unquote(name).partition("[")[0] not in _KNOWN_PARAMETERS:
            value = value and "***"
        shown.append(name + equals + value)
    return path + mark + "&".join(shown)


def _harmless(line: str) -> str:
    """A line that cannot steer a terminal, nor look like two."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in line)


def _request(head: _Head, *, azure: bool) -> Request | None:
    """The API request in a head, or None when its path is outside the API."""
    path, _, query = head.target.partition("?")
    bases = _BASES if azure else _BASES[-1:]
    base = next((base for base in bases if path.startswith(base + "/")), None)
    if base is None:
        return None
    scheme, _, token = head.headers.get("authorization", "").partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else None
    key = (head.headers.get("api-key") if azure else None) or bearer
    return Request(path[len(base) :], query, key, base == "/openai")
