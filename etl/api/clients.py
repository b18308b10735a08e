"""The clients of one source: one for each reader, all behind one gate."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Self

from etl.api.client import Client
from etl.api.gate import Gate
from etl.settings import Source


class Clients:
    """As many clients as the source may have readers; each is made when it is first asked for.

    Raises ConfigError for an address that must not be used.
    """

    def __init__(self, source: Source, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self.source = source
        self._sleep = sleep
        self._gate = Gate(source.requests_per_minute, sleep=sleep)
        self._all = [self._made()]

    def __getitem__(self, number: int) -> Client:
        """One reader's client; the readers count from 0."""
        if number >= self.source.workers:
            raise IndexError(f"source {self.source.name} has {self.source.workers} readers")
        while number >= len(self._all):
            self._all.append(self._made())
        return self._all[number]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._all:
            client.close()

    @property
    def requests(self) -> int:
        """Requests that all of them sent, tries included."""
        return sum(client.requests for client in self._all)

    @property
    def retries(self) -> int:
        """Waits of all of them before another try."""
        return sum(client.retries for client in self._all)

    def _made(self) -> Client:
        return Client(self.source, sleep=self._sleep, gate=self._gate)
