"""A world of fine-tuning jobs: what is in it, in which order, and how it goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from . import clock, data
from .children import Events, checkpoint_texts
from .data import EventsOf, Given, GivenJob
from .dice import Dice, base62
from .files import Files, Place
from .jobs import Invented
from .money import Charge, Money, tokens_charge
from .render import job_text
from .slices import dump, members
from .state import FINAL, State, advanced, halted

PROVIDERS = ("openai", "azure")


class UnknownIdError(LookupError):
    """There is nothing with this id here."""


class UnknownCursorError(LookupError):
    """`after` names nothing in this list."""


class Page(NamedTuple):
    """Part of a list: ids and JSON texts, and whether more follows."""

    items: list[tuple[str, str]]
    has_more: bool


class Step(NamedTuple):
    """What happened when the world went on; `now` is its time since, in unix seconds."""

    changed: list[str]
    new: list[str]
    now: int


class World:
    """Everything one API key can see, made up from a seed.

    A job is computed when it is asked for: a world of a million jobs starts at once. The world
    has its own clock, which stands still until `advance`. `provider` is `openai` or `azure` and
    decides the shapes.
    """

    def __init__(self, seed: int = 0, jobs: int = 100, provider: str = "openai") -> None:
        if provider not in PROVIDERS:
            raise ValueError(f"unknown provider {provider!r}; known are {', '.join(PROVIDERS)}")
        if jobs < 0:
            raise ValueError(f"a world cannot have {jobs} jobs")
        self.seed = seed
        self.provider = provider
        #: The world's time, in unix seconds.
        self.now = clock.NOW
        #: Rises with every change, so that answers may be kept as long as it stays.
        self.version = 0
        #: Held by whoever reads several things that must fit together, or changes something.
        self.lock = threading.RLock()
        self.money: Money
        self._jobs = Invented(seed, jobs, provider)
        self._files = Files(self._jobs)
        self._given = Given()
        #: Ids of files that are no more.
        self._expired: set[str] = set()
        self._steps = 0
        self.money = Money(self._jobs, seed)

    @classmethod
    def from_files(
        cls, paths: Iterable[str | Path], provider: str = "openai", seed: int = 0
    ) -> World:
        """A world of the real objects in JSON or JSONL files (also `.gz`).

        `JOBID=FILE` gives the events of one job, `FILEID=FILE` the content of one of the API's
        files, as it is. ValueError names the file and line of what cannot be served.
        """
        objects: list[data.Found] = []
        events: list[EventsOf] = []
        contents: dict[str, bytes] = {}
        for path in paths:
            owner, sign, name = str(path).partition("=")
            if sign and owner.startswith(("ftjob-", "ft-")):
                events.append(EventsOf(owner, list(data.read(Path(name)))))
            elif sign and owner.startswith("file-"):
                contents[owner] = data.read_bytes(Path(name))
            else:
                objects.extend(data.read(Path(path)))
        return cls._of(Given(objects, events, contents), provider, seed)

    @classmethod
    def from_objects(
        cls,
        objects: Iterable[Mapping[str, object] | str],
        events: Mapping[str, Iterable[Mapping[str, object] | str]] | None = None,
        provider: str = "openai",
        seed: int = 0,
        *,
        contents: Mapping[str, bytes] | None = None,
    ) -> World:
        """A world of real objects, as mappings or as JSON texts.

        `events` by job id; `contents` of files by file id, of a file among the objects or one that
        a job among them names.
        """
        batches = [
            EventsOf(job_id, list(data.handed(things, f"event of {job_id}")))
            for job_id, things in (events or {}).items()
        ]
        given = Given(data.handed(objects, "object"), batches, contents)
        return cls._of(given, provider, seed)

    @classmethod
    def _of(cls, given: Given, provider: str, seed: int) -> World:
        world = cls(seed, 0, provider)
        world._given = given
        world.now = max(world.now, given.newest() + clock.HOUR)
        return world

    def __len__(self) -> int:
        return len(self._jobs) - len(self._jobs.removed) + len(self._given.jobs)

    # Jobs

    def job_ids(self) -> Iterator[str]:
        """The ids of all jobs, newest first."""
        for serial in self._serials(len(self._jobs)):
            yield self._jobs.job_id(serial)
        for job in self._given.jobs:
            yield job.id

    def job(self, job_id: str) -> str:
        """The JSON text of a job."""
        found = self._find(job_id)
        return found.text if isinstance(found, GivenJob) else job_text(self._jobs, found)

    def jobs(
        self, after: str | None, limit: int, metadata: Mapping[str, str] | bool | None = False
    ) -> Page:
        """Jobs, newest first. `metadata`: pairs that all must match, None for jobs without any."""
        serials, given = self._serials(len(self._jobs)), self._given.jobs
        if after is not None:
            try:
                found = self._find(after)
            except UnknownIdError as error:
                raise UnknownCursorError(after) from error
            if isinstance(found, GivenJob):
                serials, given = iter(()), given[given.index(found) + 1 :]
            else:
                serials = self._serials(found)
        wanted = _metadata_filter(metadata)

        def matching() -> Iterator[int | GivenJob]:
            for serial in serials:
                if wanted is None or wanted(self._jobs.metadata(serial) or {}):
                    yield serial
            for job in given:
                if wanted is None or wanted(job.metadata):
                    yield job

        chosen = list(islice(matching(), limit + 1))
        items = [
            (one.id, one.text)
            if isinstance(one, GivenJob)
            else (self._jobs.job_id(one), job_text(self._jobs, one))
            for one in chosen[:limit]
        ]
        return Page(items, len(chosen) > limit)

    # What belongs to a job

    def events(self, job_id: str, after: str | None, limit: int) -> Page:
        """Events of a job, newest first."""
        found = self._find(job_id)
        if isinstance(found, GivenJob):
            return cut(found.events, after, limit)
        events = Events(self._jobs, found, self.now)
        start = len(events)
        if after is not None:
            number = events.find(after)
            if number is None:
                raise UnknownCursorError(after)
            start = number
        end = max(0, start - limit)
        return Page(
            [("", events.text(number)) for number in range(start - 1, end - 1, -1)], end > 0
        )

    def checkpoints(self, job_id: str, after: str | None, limit: int) -> Page:
        """Checkpoints of a job, highest step first."""
        found = self._find(job_id)
        if isinstance(found, GivenJob):
            return cut(found.checkpoints, after, limit)
        return cut(checkpoint_texts(self._jobs, found), after, limit)

    def permissions(self, model: str) -> list[tuple[str, str, str]]:
        """Id, JSON text and project of a model's permissions, newest first."""
        code = model.split(":ckpt-step-", maxsplit=1)[0].rpartition(":")[2]
        serial = self._jobs.find_model(code)
        if serial is None or self._jobs.state(serial).status != "succeeded":
            raise UnknownIdError(model)
        # Each checkpoint has a code of its own, and so permissions of its own.
        dice = Dice(self.seed, 50, int.from_bytes(code.encode()))
        found = []
        for number in range(dice.between(0, 2)):
            permission_id = "cp_" + base62(dice.roll() << 64 | dice.roll(), 24)
            project = self.money.project_ids[2 - number]
            permission = {
                "object": "checkpoint.permission",
                "id": permission_id,
                "created_at": (self._jobs.state(serial).ended_at or 0) + 3_600 - number,
                "project_id": project,
            }
            found.append((permission_id, dump(permission), project))
        return found

    # Files

    def files(self, after: str | None, limit: int, purpose: str | None, *, rising: bool) -> Page:
        """Files by creation time, newest first unless `rising`."""
        given = [(thing.value["id"], thing) for thing in self._given.files]
        if given:
            kept = [
                (file_id, thing.text)
                for file_id, thing in (reversed(given) if rising else given)
                if purpose in (None, thing.value.get("purpose")) and file_id not in self._expired
            ]
            return cut(kept, after, limit)
        place = None
        if after is not None:
            place = self._files.find(after)
            if place is None:
                raise UnknownCursorError(after)
        slots = {None: (0, 1, 2), "fine-tune": (0, 1), "fine-tune-results": (2,)}.get(purpose, ())
        walk = self._files.walk(place, oldest_first=rising) if slots else iter(())
        named = (
            (self._jobs.file_id(one.serial, one.slot), one) for one in walk if one.slot in slots
        )
        kept_ones = (pair for pair in named if pair[0] not in self._expired)
        chosen = list(islice(kept_ones, limit + 1))
        items = [(file_id, self._files.text(one)) for file_id, one in chosen[:limit]]
        return Page(items, len(chosen) > limit)

    def file(self, file_id: str) -> str:
        """The JSON text of a file object."""
        if file_id not in self._expired:
            for thing in self._given.files:
                if thing.value["id"] == file_id:
                    return thing.text
        return self._files.text(self._place(file_id))

    def file_content(self, file_id: str) -> bytes:
        """The bytes of a file; of a given file only where its content was given too."""
        if file_id in self._given.contents and file_id not in self._expired:
            return self._given.contents[file_id]
        return self._files.content(self._place(file_id))

    def expire(self, ids: Iterable[str]) -> list[str]:
        """Let files vanish, with their content; UnknownIdError lets none of them vanish."""
        with self.lock:
            found = list(dict.fromkeys(ids))
            for file_id in found:
                if not self._is_file(file_id):
                    raise UnknownIdError(file_id)
            self._expired.update(found)
            self.version += 1
            return found

    def _is_file(self, file_id: str) -> bool:
        """Is there anything to be had of this file?"""
        given = {*self._given.contents, *(thing.value["id"] for thing in self._given.files)}
        if file_id in self._expired:
            return False
        return file_id in given or self._files.find(file_id) is not None

    def _place(self, file_id: str) -> Place:
        place = None if file_id in self._expired else self._files.find(file_id)
        if place is None:
            raise UnknownIdError(file_id)
        return place

    # Money

    def cost_bucket(
        self, start: int, groups: Sequence[str], projects: Sequence[str], keys: Sequence[str]
    ) -> str:
        """The JSON text of the costs of the UTC day that begins at `start`."""
        charges: list[Charge] = []
        for job in self._given.jobs:
            value = {name: part.value for name, part in members(job.text).items()}
            at, tokens = value.get("finished_at") or job.created_at, value.get("trained_tokens")
            if job.status == "succeeded" and tokens and start <= at < start + clock.DAY:
                owner, key = self.money.project_ids[0], self.money.key_ids[0]
                charge = tokens_charge(at, str(value.get("model")), tokens, owner, key)
                charges.extend([charge] if charge else [])
        return self.money.bucket(start, groups, charges, projects, keys)

    # The world goes on

    def advance(
        self,
        changed: int | None = None,
        new: int | None = None,
        *,
        ids: Iterable[str] | None = None,
    ) -> Step:
        """Let exactly `changed` jobs change and `new` ones arrive; None means a believable number.

        Open jobs change first, each to its next status; when they run out, finished ones gain
        something. `ids` names the jobs instead: exactly these change, and none arrives unless
        `new` says so. ValueError when there are fewer jobs than should change.
        """
        with self.lock:
            named = None if ids is None else [self._find(one) for one in dict.fromkeys(ids)]
            if named is not None:
                if changed is not None:
                    raise ValueError("`ids` says how many change; leave out `changed`")
                changed, new = len(named), new or 0
            self._steps += 1
            dice = Dice(self.seed, 60, self._steps)
            waiting = self._open() if named is None else named
            if changed is None:
                changed = min(len(waiting), dice.between(1, 6))
            if new is None:
                new = dice.between(0, 3)
            if changed < 0 or new < 0 or changed > len(self):
                self._steps -= 1
                raise ValueError(
                    f"cannot change {changed} of {len(self)} jobs and add {new} new ones"
                )
            chosen = waiting[:changed]
            chosen += self._settled(changed - len(chosen), set(map(_key, waiting)), dice)
            latest = self.now + clock.HOUR
            for job in chosen:
                latest = max(latest, self._move(job) + 60)
            ids = [self._id(job) for job in chosen]
            first = len(self._jobs)
            span = latest - self.now - 60
            arrivals = sorted(self.now + 30 + dice.between(0, span) for _ in range(new))
            self._jobs.arrivals.extend(arrivals)
            arrived = [self._jobs.job_id(serial) for serial in range(first, first + new)]
            self.now = latest
            self.version += 1
            return Step(ids, arrived[::-1], self.now)

    def remove(self, ids: Iterable[str]) -> list[str]:
        """Delete jobs, as Azure lets its users do; UnknownIdError deletes none of them."""
        with self.lock:
            found = {job_id: self._find(job_id) for job_id in ids}
            for job in found.values():
                if isinstance(job, GivenJob):
                    self._given.remove(job)
                else:
                    self._jobs.removed.add(job)
            self.version += 1
            return list(found)

    def restore(self, ids: Iterable[str]) -> list[str]:
        """Bring removed jobs back as they were; UnknownIdError brings none of them back."""
        with self.lock:
            found = {job_id: self._find_removed(job_id) for job_id in ids}
            for job in found.values():
                if isinstance(job, GivenJob):
                    self._given.restore(job)
                else:
                    self._jobs.removed.discard(job)
            self.version += 1
            return list(found)

    def pause(self, ids: Iterable[str]) -> list[str]:
        """Pause running jobs; `advance` lets them go on, by way of `queued`.

        UnknownIdError, or ValueError for one that cannot be paused, pauses none of them.
        """
        with self.lock:
            found = {job_id: self._find(job_id) for job_id in ids}
            states: dict[int, State] = {}
            for job_id, job in found.items():
                try:
                    if isinstance(job, GivenJob):
                        data.require_running(job)
                    else:
                        states[job] = halted(self._jobs.life(job), self._jobs.state(job), self.now)
                except ValueError as error:
                    raise ValueError(f"{job_id} {error}") from None
            self._jobs.changed.update(states)
            for job in found.values():
                if isinstance(job, GivenJob):
                    data.pause(job)
            self.version += 1
            return list(found)

    # Inside

    def _find_removed(self, job_id: str) -> int | GivenJob:
        serial = self._jobs.find_any(job_id)
        found = self._given.find_removed(job_id) if serial is None else serial
        if found is None or (serial is not None and serial not in self._jobs.removed):
            raise UnknownIdError(job_id)
        return found

    def _find(self, job_id: str) -> int | GivenJob:
        serial = self._jobs.find(job_id)
        found = self._given.find(job_id) if serial is None else serial
        if found is None:
            raise UnknownIdError(job_id)
        return found

    def _serials(self, below: int) -> Iterator[int]:
        removed = self._jobs.removed
        numbers = range(below - 1, -1, -1)
        return (serial for serial in numbers if serial not in removed) if removed else iter(numbers)

    def _id(self, job: int | GivenJob) -> str:
        return job.id if isinstance(job, GivenJob) else self._jobs.job_id(job)

    def _open(self) -> list[int | GivenJob]:
        given = [job for job in reversed(self._given.jobs) if job.status not in FINAL]
        return [*given, *self._jobs.open_serials()]

    def _settled(self, count: int, skip: set[int | str], dice: Dice) -> list[int | GivenJob]:
        """Some finished jobs, each once."""
        if count <= 0:
            return []
        size = len(self._jobs) + len(self._given.jobs)
        wanted = min(size, count + len(skip) + len(self._jobs.removed))
        chosen: list[int | GivenJob] = []
        for place in dice.sample(size, wanted):
            invented = place < len(self._jobs)
            job = place if invented else self._given.jobs[place - len(self._jobs)]
            if _key(job) not in skip and _key(job) not in self._jobs.removed:
                chosen.append(job)
        return chosen[:count]

    def _move(self, job: int | GivenJob) -> int:
        """Change one job and say when that was."""
        if isinstance(job, GivenJob):
            data.move_on(job, self.now + 60)
            return self.now + 60
        jobs = self._jobs
        state: State = jobs.state(job)
        if state.status in FINAL:
            jobs.changed[job] = replace(state, gains=state.gains + 1)
            return self.now
        azure = self.provider == "azure"
        moved = advanced(jobs.life(job), state, self.now, azure=azure)
        jobs.changed[job] = moved
        return max(moved.ended_at or 0, moved.started_at or 0, moved.resumed_at or 0)


def cut(items: Sequence[tuple[str, str]], after: str | None, limit: int) -> Page:
    """The part of a short list behind `after`."""
    start = 0
    if after is not None:
        found = [number for number, item in enumerate(items) if item[0] == after]
        if not found:
            raise UnknownCursorError(after)
        start = found[0] + 1
    return Page(list(items[start : start + limit]), start + limit < len(items))


def _key(job: int | GivenJob) -> int | str:
    return job.id if isinstance(job, GivenJob) else job


def _metadata_filter(
    wanted: Mapping[str, str] | bool | None,
) -> Callable[[Mapping[str, str]], bool] | None:
    if isinstance(wanted, bool):
        return None
    if wanted is None:
        return lambda pairs: not pairs
    return lambda pairs: wanted.items() <= pairs.items()
