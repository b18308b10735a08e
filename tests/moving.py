"""A list of jobs that goes on while it is read: what happens is told for the n-th request.

moving = Moving(2000)
moving.before[3] = lambda: moving.remove("ftjob-01500")
with serve(moving.answer) as server:
    ...
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from tests.http_server import Reply, Seen
from tests.jobs import job

#: What servers do with a cursor that they do not know.
REFUSED, NOT_FOUND, EMPTY, STUMBLES, HEAD = "400", "404", "empty", "500", "head"


def id_of(number: int) -> str:
    return f"ftjob-{number:05}"


class Moving:
    """Jobs by number, the newest with the highest, a second apart."""

    def __init__(
        self, count: int, *, unknown: str = REFUSED, most: int = 100, says_more: bool = True
    ) -> None:
        self.jobs = {id_of(number): self._made(number) for number in reversed(range(count))}
        self.before: dict[int, Callable[[], object]] = {}
        #: Answers instead of what would be right: by the cursor, None for the head.
        self.instead: dict[str | None, Reply] = {}
        self.cursors: list[str | None] = []
        #: How many were under way at once; all but the head's wait until it is so many.
        self.most_at_once = 0
        self.wanted_at_once = 1
        self._at_once = 0
        self._unknown = unknown
        self._most = most
        self._says_more = says_more
        self._next = count
        self._changed = threading.Condition()

    @property
    def ids(self) -> list[str]:
        return list(self.jobs)

    def add(self) -> str:
        """One more job arrives at the head."""
        made = self._made(self._next)
        self._next += 1
        self.jobs = {made["id"]: made, **self.jobs}
        return str(made["id"])

    def remove(self, *ids: str) -> None:
        for identifier in ids:
            del self.jobs[identifier]

    def change(self, *ids: str) -> None:
        for identifier in ids:
            found = self.jobs[identifier]
            self.jobs[identifier] = {**found, "seed": (found["seed"] or 0) + 1}

    def answer(self, seen: Seen) -> Reply:
        with self._changed:
            cursor = dict(seen.query).get("after")
            self.cursors.append(cursor)
            self.before.get(len(self.cursors), lambda: None)()
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._changed.notify_all()
            reply = self.instead.get(cursor) or self._page(cursor, dict(seen.query))
            if cursor is not None:
                self._changed.wait_for(lambda: self.most_at_once >= self.wanted_at_once, 5)
        time.sleep(0.001)  # so that more may come than should
        with self._changed:
            self._at_once -= 1
        return reply

    def _page(self, cursor: str | None, query: dict[str, str]) -> Reply:
        ids = self.ids
        start = 0
        if cursor in self.jobs:
            start = ids.index(cursor) + 1
        elif cursor is not None and self._unknown == EMPTY:
            start = len(ids)
        elif cursor is not None and self._unknown != HEAD:
            return Reply({"error": {"message": f"no {cursor}"}}, status=int(self._unknown))
        end = start + min(int(query["limit"]), self._most)
        data = [self.jobs[identifier] for identifier in ids[start:end]]
        more = {"has_more": end < len(ids)} if self._says_more else {}
        return Reply({"object": "list", "data": data, **more})

    @staticmethod
    def _made(number: int) -> dict[str, Any]:
        return job(id_of(number), created_at=1_700_000_000 + number)
