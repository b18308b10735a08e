"""An API of a few jobs and what hangs off them, which a test may change while it is mirrored.

api = Api()
api.add("ftjob-1", events=[event("ftevent-1")], checkpoints=[], content=b"")
api.instead["/fine_tuning/jobs/ftjob-1/events"] = Reply(status=500)
with api.served() as source:
    run(engine, source)
assert api.asked("/events") == ["/fine_tuning/jobs/ftjob-1/events"]
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine

from etl.db.tables import child_progress, frontiers, quarantine
from etl.pipe import RunResult
from etl.record import unpack
from etl.settings import Secret, Source
from tests.http_server import Reply, Seen, serve
from tests.jobs import job
from tests.mirror import EVERYTHING, rows, sync

JOBS = "/fine_tuning/jobs"
#: The end of the jobs that `tests.jobs.job` makes, in unix seconds.
ENDED = 1735326547
#: A moment at which everything about such a job is settled long since.
NOW = datetime(2026, 1, 1, tzinfo=UTC)
HEADERS = {"x-request-id": "req_42"}

Answer = Reply | Callable[[Seen], Reply]


def events_path(job_id: str) -> str:
    return f"{JOBS}/{job_id}/events"


def checkpoints_path(job_id: str) -> str:
    return f"{JOBS}/{job_id}/checkpoints"


def event(id: str = "ftevent-1", at: int = ENDED - 60, **changes: Any) -> dict[str, Any]:  # noqa: A002
    """An event; `changes` replace or add fields, a field of `...` is left out."""
    found = {
        "object": "fine_tuning.job.event",
        "id": id,
        "created_at": at,
        "level": "info",
        "message": f"This is {id}",
        "data": {},
        "type": "message",
        **changes,
    }
    return {name: value for name, value in found.items() if value is not ...}


def told(job_id: str, count: int, first: int = 0) -> list[dict[str, Any]]:
    """Events of a job by number, newest first."""
    numbers = range(first, first + count)
    return [event(f"ftevent-{job_id}-{number:05}", ENDED - 90_000 + number) for number in numbers][
        ::-1
    ]


def checkpoint(
    id: str = "ftckpt-1",  # noqa: A002
    job_id: str = "ftjob-1",
    step: int = 10,
    **changes: Any,
) -> dict[str, Any]:
    """A checkpoint with one measurement."""
    return {
        "object": "fine_tuning.job.checkpoint",
        "id": id,
        "created_at": ENDED - 30,
        "fine_tuned_model_checkpoint": f"ft:gpt-4o-mini-2024-07-18:acme::Aj9zpMdD:ckpt-step-{step}",
        "fine_tuning_job_id": job_id,
        "step_number": step,
        "metrics": {"step": step, "train_loss": 0.5},
        **changes,
    }


def file(id: str, **changes: Any) -> dict[str, Any]:  # noqa: A002
    """A file that the server is done with."""
    return {
        "object": "file",
        "id": id,
        "bytes": 100,
        "created_at": ENDED - 3600,
        "filename": "train.jsonl",
        "purpose": "fine-tune",
        "status": "processed",
        **changes,
    }


class Api:
    """Answers for the jobs it has; counts and remembers what was asked."""

    def __init__(self) -> None:
        #: Newest first, as the list has them.
        self.jobs: dict[str, dict[str, Any]] = {}
        self.events: dict[str, list[Any]] = {}
        self.checkpoints: dict[str, list[Any]] = {}
        self.files: dict[str, Any] = {}
        self.contents: dict[str, bytes] = {}
        #: Answers instead of what would be right, by path without `/v1`.
        self.instead: dict[str, Answer] = {}
        #: Seconds that every answer takes.
        self.delay = 0.0
        self.seen: list[Seen] = []
        #: How many were under way at once; all but the list of jobs wait until it is so many.
        self.most_at_once = 0
        self.wanted_at_once = 1
        self._at_once = 0
        self._changed = threading.Condition()

    def add(
        self,
        job_id: str = "ftjob-1",
        *,
        events: Sequence[Any] | None = None,
        checkpoints: Sequence[Any] | None = None,
        content: bytes | None = b"step,train_loss\n1,0.5\n",
        **changes: Any,
    ) -> None:
        """A job of whatever is left out a plain one hangs off: an event, a checkpoint, files."""
        name = job_id.removeprefix("ftjob-")
        given = {"training_file": f"file-train-{name}", "result_files": [f"file-result-{name}"]}
        made = job(job_id, **{**given, **changes})
        self.jobs = {job_id: made, **self.jobs}
        self.events[job_id] = list([event(f"ftevent-{name}")] if events is None else events)
        plain = [checkpoint(f"ftckpt-{name}", job_id)]
        self.checkpoints[job_id] = list(plain if checkpoints is None else checkpoints)
        for one in [made["training_file"], *made["result_files"]]:
            self.files.setdefault(one, file(one))
        if content is not None:
            for one in made["result_files"]:
                self.contents.setdefault(one, content)

    def change(self, job_id: str, **changes: Any) -> None:
        """Something about a job is now otherwise."""
        self.jobs[job_id] = {**self.jobs[job_id], **changes}

    @contextmanager
    def served(self, **changes: Any) -> Iterator[Source]:
        """A source that reads this."""
        given: dict[str, Any] = {"api_key": Secret.from_text("the test", "sk-1"), "max_attempts": 2}
        with serve(self._answer) as server:
            yield Source(base_url=server.url, **{**given, **changes})

    def forget(self) -> None:
        """Remember requests from here on only."""
        self.seen.clear()

    def asked(self, end: str = "") -> list[str]:
        """The paths asked for so far that end like this, sorted."""
        paths = [seen.path.removeprefix("/v1") for seen in self.seen]
        return sorted(path for path in paths if path.endswith(end))

    def _answer(self, seen: Seen) -> Reply:
        path = seen.path.removeprefix("/v1")
        with self._changed:
            self.seen.append(seen)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            self._changed.notify_all()
            if path != JOBS:
                self._changed.wait_for(lambda: self.most_at_once >= self.wanted_at_once, 5)
        instead = self.instead.get(path)
        if instead is not None:
            reply = instead(seen) if callable(instead) else instead
        else:
            reply = self._right(path, seen)
        time.sleep(self.delay)
        with self._changed:
            self._at_once -= 1
        return reply

    def _right(self, path: str, seen: Seen) -> Reply:
        parts = path.strip("/").split("/")
        if parts[0] == "files":
            body = self.contents.get(parts[1]) if len(parts) == 3 else self.files.get(parts[1])
            return not_there() if body is None else Reply(body, headers=HEADERS)
        if len(parts) == 2:
            return page(list(self.jobs.values()), seen)
        if parts[2] not in self.jobs:
            return not_there()
        if len(parts) == 3:
            return Reply(self.jobs[parts[2]], headers=HEADERS)
        of = self.events if parts[3] == "events" else self.checkpoints
        return page(of[parts[2]], seen)


def not_there() -> Reply:
    return Reply({"error": {"message": "There is no such thing"}}, status=404, headers=HEADERS)


def page(items: Sequence[Any], seen: Seen) -> Reply:
    """What was asked for of a list, newest first."""
    query = dict(seen.query)
    ids = [item.get("id") if isinstance(item, dict) else None for item in items]
    start = ids.index(query["after"]) + 1 if "after" in query else 0
    end = start + int(query["limit"])
    found = {"object": "list", "data": list(items[start:end]), "has_more": end < len(items)}
    return Reply(found, headers=HEADERS)


def run(engine: Engine, *sources: Source, now: datetime = NOW, **order: Any) -> RunResult:
    """One run over all that a project's key can read."""
    given: dict[str, Any] = {"resources": EVERYTHING, "mode": "auto"}
    return sync(engine, *sources, now=lambda: now, **{**given, **order})


def statuses(result: RunResult) -> dict[str, str]:
    """How each resource fared."""
    return {tally.resource: tally.status for one in result.sources for tally in one.tallies}


def error_of(result: RunResult, resource: str) -> str:
    """What went wrong with a resource; empty where nothing did."""
    tallies = [tally for one in result.sources for tally in one.tallies]
    return next((tally.error or "" for tally in tallies if tally.resource == resource), "")


def requests(result: RunResult) -> dict[str, int]:
    """The requests for each resource that took any."""
    tallies = [tally for one in result.sources for tally in one.tallies]
    return {one.resource: one.counts["requests"] for one in tallies if one.counts["requests"]}


def quarantined(engine: Engine, *, is_open: bool = True) -> list[tuple[str, str | None, bytes]]:
    """The resource, id and text of what lies in quarantine, or did."""
    return [
        (row["resource"], row["record_id"], unpack(row["payload"], row["payload_encoding"]))
        for row in rows(engine, quarantine.name)
        if (row["resolved_at"] is None) == is_open
    ]


def reasons(engine: Engine) -> list[str]:
    return [row["reason"] for row in rows(engine, quarantine.name) if row["resolved_at"] is None]


def drifted(engine: Engine, resource: str) -> list[tuple[str, str]]:
    """Path and kind of what was noted of a resource."""
    found = [row for row in rows(engine, "drift") if row["resource"] == resource]
    return [(row["path"], row["kind"]) for row in found]


def progress(engine: Engine, resource: str) -> dict[str, str]:
    """How far each parent of a resource that was read is: `open`, `settled` or `absent`."""
    return {
        row["parent_id"]: "absent"
        if row["absent_since"] is not None
        else ("settled" if row["is_settled"] else "open")
        for row in rows(engine, child_progress.name)
        if row["resource"] == resource and row["read_at"] is not None
    }


def newest(engine: Engine, job_id: str) -> list[str]:
    """The newest ids that are remembered of a job's events."""
    found = [row for row in rows(engine, frontiers.name) if row["parent_id"] == job_id]
    return [one for row in found for one in row["newest_ids"]]


def positions(engine: Engine, job_id: str) -> list[tuple[int, str]]:
    """Place and id of each of a job's events, the oldest first."""
    found = [row for row in rows(engine, "job_events") if row["job_id"] == job_id]
    return sorted((row["position"], row["id"]) for row in found)


def metrics(engine: Engine, origin: str = "result_file") -> list[tuple[str, int, str, float]]:
    """Job, step, name and value of what was measured."""
    return [
        (row["job_id"], row["step"], row["name"], row["value"])
        for row in rows(engine, "training_metrics")
        if row["origin"] == origin
    ]
