"""The fake API in a process of its own, as the one who measures sees it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.request import Request, urlopen

from benchmarks.environments import ROOT


class Api:
    """A fake API that runs."""

    def __init__(self, port: int, jobs: int) -> None:
        self._root = f"http://127.0.0.1:{port}"
        self.url = f"{self._root}/v1"
        self.jobs = jobs

    def reset(self, latency_ms: int = 0) -> None:
        """Take back every change, and count requests from 0."""
        self._ask("/reset", {"latency_ms": latency_ms})

    def advance(self, changed: int) -> set[str]:
        """Let so many jobs change; their ids."""
        return set(json.loads(self._ask("/advance", {"changed": changed}))["changed"])

    def requests(self) -> int:
        """Requests answered since the last reset."""
        return int(json.loads(self._ask("/stats"))["requests"])

    def job_bytes(self) -> int:
        """How long a job is, on average."""
        return int(json.loads(self._ask("/stats"))["job_bytes"])

    def truth(self) -> dict[str, str]:
        """The status of each job."""
        lines = self._ask("/truth").decode().splitlines()
        return dict(line.split(" ", 1) for line in lines)

    def _ask(self, path: str, body: dict[str, Any] | None = None) -> bytes:
        data = None if body is None else json.dumps(body).encode()
        with urlopen(Request(self._root + path, data)) as answer:
            return bytes(answer.read())


@contextmanager
def serving(jobs: int) -> Iterator[Api]:
    """A fake API of so many jobs, until the end of the block."""
    command = [sys.executable, "-m", "benchmarks.api", "--jobs", str(jobs)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Api(int(process.stdout.readline()), jobs)
        finally:
            process.terminate()
