"""A mirror over a network that fails: how many runs until it is complete, and at what cost?

An API that answers wrongly now and then, by the simulator's faults; a database whose connections
are cut, by a proxy. Waits before another try are counted, not waited for.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine, func, select

from chaos.comparing import (
    SEEN_OTHERWISE,
    Contents,
    contents,
    differences,
    rows_that_differ,
    unsound,
    without,
)
from chaos.databases import Database, opened
from chaos.proxy import Weather, proxied
from etl import sync as syncing
from etl.db import migrate
from etl.db.tables import quarantine
from etl.errors import StoreError
from etl.resources import discover
from etl.settings import Secret, Source
from etl.simulator import Simulator, World, parse_fault

#: What passes: each is worth another try, which is right then.
PASSING = (
    "status=429", "status=429,retry-after=1", "status=429,retry-after=0.25",
    "status=429,retry-after=date:2", "status=429,retry-after=date:-30",
    "status=429,retry-after=soon", "status=429,retry-after-ms=150",
    "status=400,should-retry=true", "status=408", "status=409", "status=500",
    "status=500,body=problem+json", "status=502,body=html", "status=503,retry-after=1",
    "status=504,body=empty", "timeout", "timeout=0.05", "drip=0.05", "cut", "cut=0", "reset",
    "length",
)  # fmt: skip
#: 200, and something else than was asked for.
WRONG = ("notjson", "html", "empty", "length=-10")
MISSHAPEN = (
    "envelope=renamed", "envelope=array", "envelope=null", "envelope=error",
    "envelope=no-has-more",
)  # fmt: skip
#: Lists that lead nowhere, or tell something twice.
LISTS = ("repeat", "stuck", "twice")

#: What may befall which requests. Left out is what nobody can tell from the truth: a member that
#: need not be there (`created_at` of a file), and bytes of a result file, whose text has no end.
PLACES: Mapping[str, Sequence[str]] = {
    "/fine_tuning/jobs$": (
        *PASSING, *WRONG, *MISSHAPEN, *LISTS, "missing=id", "missing=created_at",
    ),
    "/fine_tuning/jobs/*$": (*PASSING, *WRONG, "missing=id", "missing=created_at"),
    "/fine_tuning/jobs/*/events$": (
        *PASSING, *WRONG, *MISSHAPEN, *LISTS, "missing=id", "missing=created_at",
    ),
    "/fine_tuning/jobs/*/checkpoints$": (
        *PASSING, *WRONG, *MISSHAPEN, *LISTS, "missing=id", "missing=created_at",
    ),
    "/fine_tuning/checkpoints": (*PASSING, *WRONG, *MISSHAPEN, *LISTS, "missing=id"),
    "/organization/projects$": (*PASSING, *WRONG, *MISSHAPEN, *LISTS, "missing=id"),
    "/files/*$": (*PASSING, *WRONG, "missing=id"),
    "/files/*/content$": (*PASSING, "html", "notjson"),
}  # fmt: skip

#: Records and files that are spoilt inside, which only the next run asks for again: it would take a
#: person's patience to ask on and on for what may never be better.
_FOR_THE_NEXT_RUN = ("missing=id", "missing=created_at")

#: Seconds without a byte after which a request is given up; short, for it is really waited for.
READ_TIMEOUT = 0.3
#: Seconds that the fake API takes for an answer.
LATENCY = 0.005
#: Requests under way at once. What makes one of them wait makes the run wait for as many times less
#: at least, and no more than that is taken off.
WORKERS = 4
#: Runs within which a mirror has to be complete at the high rate.
MOST_RUNS = 3
HIGH, LOW = 30.0, 5.0
#: Connections to the database that are cut or refused in a trial, at most.
MOST_FAILURES = 12


def specs(rate: float) -> list[str]:
    """Fault specs by which about so many of 100 requests of each path are struck, by any kind.

    At the low rate by any kind that another try can cure.
    """
    found = []
    for path, all_kinds in PLACES.items():
        kinds = [one for one in all_kinds if rate > LOW or _can_be_cured(path, one)]
        # Each is thrown for in turn, and the first that hits is the one that strikes.
        each = 100 * (1 - (1 - rate / 100) ** (1 / len(kinds)))
        found += [f"{kind}@{path}%{each:.4f}" for kind in kinds]
    return found


def _can_be_cured(path: str, kind: str) -> bool:
    """Can another try within the run bring what is right?"""
    is_file = path == "/files/*/content$"
    return kind not in _FOR_THE_NEXT_RUN and not (is_file and kind == "notjson")


@dataclass
class Trial:
    """One mirror, and the runs that it took."""

    what: str
    seed: int
    runs: int = 0
    #: Does it hold what an undisturbed one holds?
    is_equal: bool = False
    #: And does the last run say so?
    is_complete: bool = False
    #: Rows that are missing or say something else in the end, and that in words.
    lost: int = 0
    problems: list[str] = field(default_factory=list)
    #: Wall seconds of the first run without waits, and those of a run that nothing befell. What the
    #: server itself took longer is no time of ours.
    seconds: float = 0.0
    clean_seconds: float = 0.0
    #: Seconds of waiting before other tries, all readers together.
    waits: float = 0.0
    requests: int = 0
    struck: int = 0

    def __str__(self) -> str:
        how = "complete" if self.is_complete else "NOT complete"
        struck = f", {self.struck} of {self.requests} requests struck" if self.requests else ""
        runs = f"{self.runs} run" if self.runs == 1 else f"{self.runs} runs"
        return "; ".join(
            [f"{self.what}, seed {self.seed}: {how} after {runs}{struck}", *self.problems]
        )[:3000]


class FaultBench:
    """The trials on one database."""

    def __init__(
        self, database: Database, seed: int, jobs: int, say: Callable[[str], None]
    ) -> None:
        self.database = database
        self._seed = seed
        self._say = say
        self._world = World(seed, jobs)
        self._empty = database.empty()
        with opened(self._empty) as engine:
            migrate.upgrade(engine)
        self._clean: list[float] = []
        self._expected: Contents | None = None

    @contextmanager
    def mirror(self) -> Iterator[str]:
        """A mirror with nothing in it, until the end of the block."""
        url = self.database.copy(self._empty)
        try:
            yield url
        finally:
            self.database.drop(url)

    def clean(self) -> float:
        """Seconds of a run that nothing befalls; what it mirrors is what is expected."""
        with self.mirror() as url, self._served(()) as simulator:
            run = self._run(url, simulator)
            if run.status != "success":
                raise AssertionError(f"a run without faults: {run.error}")
            with opened(url) as engine:
                self._expected = _comparable(contents(engine))
        self._clean.append(run.seconds)
        return run.seconds

    @property
    def expected(self) -> Contents:
        """What an undisturbed mirror holds."""
        if self._expected is None:
            self.clean()
        return self._expected or {}

    def faulty(self, rate: float, seed: int) -> Trial:
        """Runs over an API of which so many of 100 requests go wrong."""
        trial = Trial(f"{self.database.name}, {rate:g} %", seed)
        # Before and behind it, so that a machine that is busy for a while is so for both.
        before = self.clean() if rate == LOW else 0.0
        with self.mirror() as url, self._served(specs(rate), seed) as simulator:
            for _ in range(MOST_RUNS):
                run = self._run(url, simulator)
                trial.seconds = trial.seconds or run.seconds
                trial.waits += run.waits
                if self._judge(trial, run, url):
                    break
            trial.requests = int(str(simulator.requests.as_dict()["total"]))
            struck = simulator.faults.struck
            trial.struck = sum(struck.values())
            trial.seconds -= _made_to_wait(struck) / WORKERS
        trial.clean_seconds = statistics.mean((before, self.clean())) if rate == LOW else 0.0
        self._say(str(trial))
        return trial

    def revoked(self, seed: int) -> Trial:
        """A key that is revoked in the middle of a run, and a run with a good one."""
        trial = Trial(f"{self.database.name}, revoked key", seed)
        number = random.Random(seed).randint(2, 60)
        with self.mirror() as url, self._served([f"revoked#{number}"], seed) as simulator:
            run = self._run(url, simulator)
            trial.runs += 1
            if run.status == "success":
                trial.problems.append("a run whose key was revoked calls itself a success")
            if "not revoked" not in (run.error or "") and "OPENAI_API_KEY" not in (run.error or ""):
                trial.problems.append(f"it does not say which key: {run.error}")
            simulator.faults.replace(())
            self._judge(trial, self._run(url, simulator), url)
        self._say(str(trial))
        return trial

    def long_wait(self, seed: int) -> Trial:
        """A server that asks for an hour of patience in the middle of a run."""
        trial = Trial(f"{self.database.name}, a long wait", seed)
        number = random.Random(seed).randint(1, 60)
        faults = [f"status=429,retry-after=3600#{number}"]
        with self.mirror() as url, self._served(faults, seed) as simulator:
            run = self._run(url, simulator)
            trial.runs += 1
            if run.status != "partial" or run.waits > 0:
                trial.problems.append(f"{run.status}, {run.waits} s of waiting")
            self._judge(trial, self._run(url, simulator), url)
        self._say(str(trial))
        return trial

    def cut_off(self, seed: int) -> Trial:
        """Runs over a connection to the database that is cut, and refused for a while."""
        trial = Trial(f"{self.database.name}, database cut off", seed)
        dice = random.Random(seed)
        # No wait is waited for, so many cuts in a row are what an outage of minutes is to a real
        # run; these are fewer than the tries of two runs.
        refused = dice.choice((0, 0, 1, 3))
        weather = Weather(
            cut_within=dice.choice((20_000, 400_000, 2_000_000)),
            cuts=min(dice.randint(1, 6), MOST_FAILURES // (refused + 1)),
            refused=refused,
            delay=dice.choice((0.0, 0.0, 0.002)),
        )
        with (
            self.mirror() as url,
            self._served(()) as simulator,
            proxied(url, seed) as (proxy, over),
        ):
            proxy.become(weather)
            for _ in range(MOST_RUNS):
                run = self._run(over, simulator)
                if self._judge(trial, run, url):
                    break
            trial.struck = proxy.cut
            trial.what += f" {proxy.cut} times"
        self._say(str(trial))
        return trial

    def _judge(self, trial: Trial, run: _Run, url: str) -> bool:
        """Is the mirror complete and equal now, and does the run say so?"""
        trial.runs += 1
        expected = self.expected
        with opened(url) as engine:
            mirror = _comparable(contents(engine))
            found = differences(mirror, expected) + unsound(engine)
            trial.is_equal, trial.lost = not found, rows_that_differ(mirror, expected)
            if run.status == "success":
                found += _waiting(engine)
        if run.status != "success":
            found.append(f"the run says {run.status}: {run.error}")
        trial.is_complete = not found
        if trial.runs >= MOST_RUNS or trial.is_complete:
            trial.problems += found
        return trial.is_complete

    @contextmanager
    def _served(self, faults: Sequence[str], seed: int = 0) -> Iterator[Simulator]:
        """The API; its faults fall otherwise for another seed, its world stays the same."""
        with Simulator(self._world, latency=LATENCY, faults=faults, fault_seed=seed) as simulator:
            yield simulator

    def _run(self, url: str, simulator: Simulator) -> _Run:
        source = Source(
            base_url=simulator.url,
            api_key=Secret.from_text("OPENAI_API_KEY", "sk-chaos"),
            admin_key=Secret.from_text("OPENAI_ADMIN_KEY", "sk-admin-chaos"),
            read_timeout=READ_TIMEOUT,
            workers=WORKERS,
        )
        order = syncing.Order([source], list(discover().values()))
        waits: list[float] = []
        began = time.monotonic()
        with opened(url) as engine:
            try:
                result = syncing.sync(engine, order, lambda _: None, sleep=waits.append)
            except StoreError as error:
                return _Run("failed", str(error), time.monotonic() - began, sum(waits))
        seconds = time.monotonic() - began
        return _Run(result.status, result.error, seconds, sum(waits))


def _made_to_wait(struck: Mapping[str, int]) -> float:
    """Seconds for which the server kept its clients waiting, all together."""
    total = 0.0
    for spec, count in struck.items():
        fault = parse_fault(spec)
        if fault.kind in ("timeout", "drip"):
            total += count * min(float(fault.value or READ_TIMEOUT), READ_TIMEOUT)
    return total


@dataclass(frozen=True)
class _Run:
    status: str
    error: str | None
    seconds: float
    #: Seconds that it would have waited.
    waits: float


def _comparable(found: Contents) -> Contents:
    """Without what tells how many runs it took, and what was seen on the way."""
    passed = {**SEEN_OTHERWISE, quarantine.name: ("*",), "drift": ("*",)}
    return without(found, passed)


def _waiting(engine: Engine) -> list[str]:
    query = select(func.count()).where(quarantine.c.resolved_at.is_(None))
    with engine.connect() as connection:
        count = connection.scalar(query)
    return [f"{count} lines of quarantine are still open"] if count else []
