"""A fake API that is faster than any reader: every page is one slice of one file.

    python -m benchmarks.api --jobs 100000 [--port 0]

It serves `GET /v1/fine_tuning/jobs` (`limit`, `after`, `has_more`), one job, and empty lists of
children. Beside that, for whoever measures: `GET /stats` (requests answered since the last reset),
`GET /truth` (a line `id status` a job), `POST /advance` (`changed`, `new`) and `POST /reset`
(`latency_ms`), which also takes back every change. Standard library only, one process; jobs lie in
an unnamed temporary file, so that its memory stays small however many there are.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
from array import array
from bisect import bisect_left
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from benchmarks.jobs import History, id_of, number_of

_BLOCK = 1000
_LIST = "/v1/fine_tuning/jobs"
_MISSING = (
    b'{"error":{"message":"Not found","type":"invalid_request_error","param":null,"code":%b}}'
)
_EMPTY = b'{"object":"list","data":[],"has_more":false}'
_REASONS = {200: b"200 OK", 400: b"400 Bad Request", 404: b"404 Not Found"}


class Shelf:
    """The jobs of a history, newest first, and what became of them since."""

    def __init__(self, size: int) -> None:
        self.history = History(size)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - close() closes it
        self._offsets = array("Q", [0])
        for start in range(size, 0, -_BLOCK):
            self._write(range(start - 1, max(start - _BLOCK, 0) - 1, -1))
        self._file.flush()
        self._descriptor = self._file.fileno()
        self.reset()

    def _write(self, numbers: range) -> None:
        end = self._offsets[-1]
        jobs = [self.history.render(number) for number in numbers]
        for job in jobs:
            end += len(job) + 1
            self._offsets.append(end)
        self._file.write(b",".join(jobs) + b",")

    def reset(self) -> None:
        """Take back every change."""
        self._changed: list[int] = []  # sorted
        self._new = 0

    def close(self) -> None:
        """Give the file back."""
        self._file.close()

    def advance(self, changed: int, new: int) -> list[bytes]:
        """Let so many open jobs succeed, and so many more be made; the ids of the former."""
        known = set(self._changed)
        waiting = [number for number in self.history.open_numbers() if number not in known]
        self._changed = sorted(known.union(waiting[:changed]))
        self._new += new
        return [id_of(number) for number in waiting[:changed]]

    @property
    def job_bytes(self) -> int:
        """How long a job is, on average."""
        return self._offsets[-1] // max(self.history.size, 1)

    @property
    def end(self) -> int:
        """One more than the newest job's number."""
        return self.history.size + self._new

    def job(self, number: int) -> bytes:
        """One job as it is now."""
        return self.history.render(number, is_changed=self._is_changed(number))

    def page(self, end: int, limit: int) -> bytes:
        """The list's answer: so many jobs below this number."""
        first = max(end - limit, 0)
        more = b"true" if first else b"false"
        return b'{"object":"list","data":[%b],"has_more":%b}' % (self._slice(first, end), more)

    def truth(self) -> bytes:
        """What a reader should hold: a line `id status` a job."""
        return b"".join(
            b"%b %b\n"
            % (id_of(number), self.history.status(number, is_changed=self._is_changed(number)))
            for number in range(self.end)
        )

    def _is_changed(self, number: int) -> bool:
        place = bisect_left(self._changed, number)
        return place < len(self._changed) and self._changed[place] == number

    def _slice(self, first: int, end: int) -> bytes:
        changed = bisect_left(self._changed, first) < bisect_left(self._changed, end)
        if changed or end > self.history.size:
            return b",".join(self.job(number) for number in range(end - 1, first - 1, -1))
        start = self._offsets[self.history.size - end]
        stop = self._offsets[self.history.size - first]
        return os.pread(self._descriptor, max(stop - start - 1, 0), start)


class Answers:
    """What each request gets."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self._control: dict[tuple[str, str], Callable[[dict[str, Any]], bytes]] = {
            ("GET", "/stats"): lambda _: self._stats(),
            ("GET", "/truth"): lambda _: shelf.truth(),
            ("POST", "/advance"): self._advance,
            ("POST", "/reset"): self._reset,
        }
        self.requests = 0
        self.latency = 0.0

    def answer(self, method: str, target: str, body: bytes) -> tuple[int, bytes]:
        """The status and the body; counted unless it is for whoever measures."""
        url = urlsplit(target)
        if control := self._control.get((method, url.path)):
            return 200, control(json.loads(body or b"{}"))
        self.requests += 1
        if method != "GET" or not url.path.startswith(_LIST):
            return 404, _MISSING % b"null"
        try:
            return 200, self._read(url.path.removeprefix(_LIST), parse_qs(url.query))
        except LookupError:
            return 404, _MISSING % b'"fine_tune_not_found"'
        except ValueError:
            return 400, _MISSING % b"null"

    def _read(self, path: str, query: dict[str, list[str]]) -> bytes:
        if path:
            number = self._number(path.split("/")[1])
            return _EMPTY if path.count("/") > 1 else self._shelf.job(number)
        end = self._number(query["after"][0]) if "after" in query else self._shelf.end
        return self._shelf.page(end, max(int(query.get("limit", ["20"])[0]), 1))

    def _number(self, job_id: str) -> int:
        number = number_of(job_id.encode())
        if number >= self._shelf.end:
            raise LookupError(job_id)
        return number

    def _stats(self) -> bytes:
        return json.dumps({"requests": self.requests, "job_bytes": self._shelf.job_bytes}).encode()

    def _advance(self, wanted: dict[str, Any]) -> bytes:
        changed = self._shelf.advance(wanted.get("changed", 0), wanted.get("new", 0))
        return json.dumps({"changed": [one.decode() for one in changed]}).encode()

    def _reset(self, wanted: dict[str, Any]) -> bytes:
        self._shelf.reset()
        self.requests = 0
        self.latency = wanted.get("latency_ms", 0) / 1000
        return b"{}"


class Connection(asyncio.Protocol):
    """HTTP/1.1 with kept connections: as much of it as the clients here speak."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._waiting = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client came."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Bytes of a request came: answer each that is whole."""
        self._waiting += data
        while (head_end := self._waiting.find(b"\r\n\r\n")) >= 0:
            head = self._waiting[:head_end].decode("latin-1")
            lines = head.split("\r\n")
            length = 0
            for line in lines[1:]:
                if line[:15].lower() == "content-length:":
                    length = int(line[15:])
            end = head_end + 4 + length
            if len(self._waiting) < end:
                return
            body, self._waiting = self._waiting[head_end + 4 : end], self._waiting[end:]
            method, target, _ = lines[0].split(" ", 2)
            self._answer(method, target, body)

    def _answer(self, method: str, target: str, body: bytes) -> None:
        status, answer = self._answers.answer(method, target, body)
        head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (
            _REASONS[status],
            len(answer),
        )
        if self._answers.latency and target.startswith("/v1/"):
            loop = asyncio.get_running_loop()
            loop.call_later(self._answers.latency, self._transport.write, head + answer)
        else:
            self._transport.write(head + answer)


async def serve(shelf: Shelf, port: int) -> None:
    """Answer until the process is told to end; the port stands on the first line of stdout."""
    answers = Answers(shelf)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(answers), "127.0.0.1", port)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


def main() -> None:
    """Serve a history."""
    parser = argparse.ArgumentParser(description="Serve a fake fine-tuning history.")
    parser.add_argument("--jobs", type=int, default=100_000, metavar="N")
    parser.add_argument("--port", type=int, default=0)
    wanted = parser.parse_args()
    asyncio.run(serve(Shelf(wanted.jobs), wanted.port))


if __name__ == "__main__":
    main()
