"""Real objects to serve, read from files or handed over, each in the text it was written in."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from .dice import base62, mix_text
from .slices import dump, edited, elements, members, values
from .state import FINAL

JOB, CHECKPOINT, FILE = "fine_tuning.job", "fine_tuning.job.checkpoint", "file"
EVENT = "fine_tuning.job.event"


class Found(NamedTuple):
    """One object, and where it stood."""

    value: dict[str, Any]
    text: str
    where: str


@dataclass
class GivenJob:
    """A real job, and what belongs to it."""

    id: str
    created_at: int
    text: str
    status: str
    metadata: dict[str, str]
    #: Id and text, in the order the API lists them: newest first.
    events: list[tuple[str, str]] = field(default_factory=list)
    checkpoints: list[tuple[str, str]] = field(default_factory=list)
    gains: int = 0


class Given:
    """All real objects of a world; jobs are newest first."""

    def __init__(
        self,
        objects: Iterable[Found] = (),
        events: Iterable[EventsOf] = (),
        contents: Mapping[str, bytes] | None = None,
    ) -> None:
        found: dict[str, dict[str, Found]] = {JOB: {}, CHECKPOINT: {}, FILE: {}}
        for thing in objects:
            kind = thing.value.get("object")
            if kind == EVENT:
                raise ValueError(
                    f"{thing.where}: an event does not name its job; give its file as JOBID=FILE"
                )
            if not isinstance(kind, str) or kind not in found:
                kind = kind if isinstance(kind, str | None) else type(kind)
                raise ValueError(
                    f"{thing.where}: unknown kind of object {kind!r}; known are {', '.join(found)}"
                )
            identity = _identity(thing)
            known = found[kind].get(identity)
            if kind != JOB or known is None or _weight(thing) >= _weight(known):
                found[kind][identity] = thing
        self.jobs: list[GivenJob] = [_job(thing) for thing in found[JOB].values()]
        self.jobs.sort(key=lambda job: -job.created_at)
        self._places = {job.id: job for job in self.jobs}
        self._order = {job.id: number for number, job in enumerate(self.jobs)}
        self._removed: dict[str, GivenJob] = {}
        self.files: list[Found] = sorted(
            found[FILE].values(), key=lambda thing: -int(thing.value["created_at"])
        )
        self._attach_checkpoints(found[CHECKPOINT].values())
        for batch in events:
            self._attach_events(batch)
        #: The bytes of files, by id.
        self.contents = dict(contents or {})
        named = set(found[FILE]).union(*(_files_of(thing) for thing in found[JOB].values()))
        for file_id in self.contents:
            if file_id not in named:
                raise ValueError(f"content of file {file_id!r}, which neither is given nor a job's")

    def find(self, job_id: str) -> GivenJob | None:
        """The job with this id, or None."""
        return self._places.get(job_id)

    def remove(self, job: GivenJob) -> None:
        """Put a job aside, until it is restored."""
        self.jobs.remove(job)
        self._removed[job.id] = self._places.pop(job.id)

    def find_removed(self, job_id: str) -> GivenJob | None:
        """The job with this id that was removed, or None."""
        return self._removed.get(job_id)

    def restore(self, job: GivenJob) -> None:
        """Bring a removed job back to its place in the list."""
        self._places[job.id] = self._removed.pop(job.id)
        self.jobs = sorted(self._places.values(), key=lambda one: self._order[one.id])

    def newest(self) -> int:
        """The newest creation time, in unix seconds; 0 without any job."""
        return max((job.created_at for job in self.jobs), default=0)

    def _attach_checkpoints(self, things: Iterable[Found]) -> None:
        for thing in things:
            job = self._places.get(str(thing.value.get("fine_tuning_job_id")))
            if job is None:
                name = thing.value.get("fine_tuning_job_id")
                raise ValueError(f"{thing.where}: checkpoint of job {name!r}, which is not given")
            job.checkpoints.append((thing.value["id"], thing.text))
        for job in self.jobs:
            job.checkpoints.sort(key=lambda pair: -_step(pair[1]))

    def _attach_events(self, batch: EventsOf) -> None:
        job = self._places.get(batch.job_id)
        if job is None:
            raise ValueError(f"events for job {batch.job_id!r}, which is not given")
        things: dict[str, Found] = {}
        for thing in batch.events:
            if thing.value.get("object") != EVENT:
                kind = thing.value.get("object")
                raise ValueError(f"{thing.where}: {kind!r} where only {EVENT} may stand")
            things[_identity(thing)] = thing
        ordered = sorted(things.values(), key=lambda thing: -int(thing.value["created_at"]))
        job.events = [(thing.value["id"], thing.text) for thing in ordered]


class EventsOf(NamedTuple):
    """Events, and the job that they belong to."""

    job_id: str
    events: Iterable[Found]


def read(path: Path) -> Iterator[Found]:
    """The objects of a JSON or JSONL file, gzipped when its name ends in `.gz`."""
    try:
        raw = path.read_bytes()
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode("utf-8-sig")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    lines = _Lines(str(path), text)
    last = 0
    try:
        for value, piece, start in values(text):
            last = start
            yield from _unpacked(value, piece, start, lines)
            last = start + len(piece)
    except (ValueError, RecursionError) as error:
        if str(error).startswith(str(path)):
            raise
        at = getattr(error, "pos", last)
        raise ValueError(f"{lines.name(at)}: not JSON ({error})") from error


def read_bytes(path: Path) -> bytes:
    """A file as it is. ValueError where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: {error}") from error


class _Lines:
    """Says in which line of a file a character stands; asked in rising order it counts once."""

    def __init__(self, path: str, text: str) -> None:
        self._path, self._text = path, text
        self._at, self._line = 0, 1

    def name(self, at: int) -> str:
        if at < self._at:
            self._at, self._line = 0, 1
        self._line += self._text.count("\n", self._at, at)
        self._at = at
        return f"{self._path}, line {self._line}"


def _unpacked(value: object, text: str, start: int, lines: _Lines) -> Iterator[Found]:
    if isinstance(value, dict) and value.get("object") == "list":
        data = members(text).get("data")
        if data is None or not isinstance(data.value, list):
            raise ValueError(f"{lines.name(start)}: a list response without a list in `data`")
        start, text, value = start + data.start, data.text, data.value
    if isinstance(value, list):
        for element in elements(text):
            at = start + element.start
            yield _one(element.value, element.text, lines.name(at))
    else:
        yield _one(value, text, lines.name(start))


def _one(value: object, text: str, where: str) -> Found:
    if not isinstance(value, dict):
        raise ValueError(  # noqa: TRY004 - the file is wrong, not the call
            f"{where}: {type(value).__name__} where an object is expected"
        )
    return Found(value, text, where)


def handed(things: Iterable[Mapping[str, object] | str], name: str) -> Iterator[Found]:
    """Objects handed over in Python: JSON texts are served as they are, mappings written out."""
    for number, thing in enumerate(things, start=1):
        text = thing if isinstance(thing, str) else dump(thing)
        place = _Lines(f"{name} {number}", text)
        try:
            for value, piece, start in values(text):
                yield from _unpacked(value, piece, start, place)
        except RecursionError as error:
            raise ValueError(f"{name} {number}: nested too deeply") from error


def _identity(thing: Found) -> str:
    identity, created_at = thing.value.get("id"), thing.value.get("created_at")
    if not isinstance(identity, str) or not identity:
        raise ValueError(f"{thing.where}: `id` is {identity!r}, not a text")
    if isinstance(created_at, bool) or not isinstance(created_at, int):
        raise ValueError(  # noqa: TRY004 - the file is wrong, not the call
            f"{thing.where}: `created_at` is {created_at!r}, not unix seconds"
        )
    return identity


def _weight(thing: Found) -> tuple[int, int]:
    """Which of two states of one job is served: the later status, then the one that says more."""
    status = thing.value.get("status")
    stage = 3 if status in FINAL else _STAGES.get(str(status), 2)
    return stage, _said(thing.value)


#: How far along an open status is; one that is not here is somewhere in the middle.
_STAGES = {"created": 0, "validating_files": 0, "pending": 1, "queued": 1}


def _said(value: object) -> int:
    """How much a value says: a value counts for two, one that was left to the server for one."""
    if isinstance(value, dict):
        return sum(map(_said, value.values()))
    if isinstance(value, list):
        return sum(map(_said, value))
    if value is None:
        return 0
    return 1 if value in ("auto", -1) else 2


def _job(thing: Found) -> GivenJob:
    value = thing.value
    metadata = value.get("metadata")
    return GivenJob(
        id=value["id"],
        created_at=value["created_at"],
        text=thing.text,
        status=str(value.get("status")),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def _files_of(thing: Found) -> set[str]:
    """The ids of the files that a job names."""
    results = thing.value.get("result_files")
    names = [thing.value.get("training_file"), thing.value.get("validation_file")]
    names += results if isinstance(results, list) else []
    return {name for name in names if isinstance(name, str)}


def _step(text: str) -> float:
    step = members(text).get("step_number")
    return float(step.value) if step and isinstance(step.value, int | float) else 0.0


def move_on(job: GivenJob, now: int) -> None:
    """Change a real job: the next status of an open one, or a new suffix of a finished one.

    All members that do not change keep their text. `now` is in unix seconds.
    """
    if job.status in FINAL:
        before = job.text
        while job.text == before:
            job.gains += 1
            job.text = edited(before, {"user_provided_suffix": f"kept-r{job.gains}"})
        return
    following = {
        "validating_files": "queued", "created": "queued", "pending": "running",
        "paused": "queued", "queued": "running",
    }  # fmt: skip
    job.status = following.get(job.status, "succeeded")
    changes: dict[str, object] = {"status": job.status}
    if job.status == "succeeded":
        changes |= _outcome(job, now)
    job.text = edited(job.text, changes)


def require_running(job: GivenJob) -> None:
    """ValueError for a job that is not running, and so cannot be paused."""
    if job.status != "running":
        raise ValueError(f"is {job.status}, not running")


def pause(job: GivenJob) -> None:
    """Pause a real job that is running."""
    job.status = "paused"
    job.text = edited(job.text, {"status": job.status})


def _outcome(job: GivenJob, now: int) -> dict[str, object]:
    parts = members(job.text)
    code = mix_text(7, job.id)
    model = str(parts["model"].value) if "model" in parts else "unknown"
    base = model.split(":")[1] if model.startswith("ft:") else model
    changes: dict[str, object] = {
        "finished_at": now,
        "fine_tuned_model": f"ft:{base}:simulated::{base62(code, 8)}",
        "result_files": ["file-" + base62(code << 64 | code, 22)],
    }
    asked = parts["hyperparameters"].value if "hyperparameters" in parts else None
    epochs = 3
    if isinstance(asked, dict):
        ran = {name: 1 if value in ("auto", -1) else value for name, value in asked.items()}
        if asked.get("n_epochs") in ("auto", -1):
            ran["n_epochs"] = 3
        epochs = ran.get("n_epochs", 3)
        if ran != asked:
            changes["hyperparameters"] = ran
    changes["trained_tokens"] = int(epochs) * (1_000 + code % 90_000)
    return changes
