"""The scenarios: who does what, in which order, and what is looked at afterwards."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import ready
from benchmarks.databases import Database, row_counts, statuses
from benchmarks.entrants import OURS, Entrant
from benchmarks.environments import HERE
from benchmarks.fake import Api
from benchmarks.results import Result, Results

#: So many statuses change between two syncs.
CHANGED = 20
LATENCY_MS = 20


class Trials:
    """Runs entrants against one fake API and keeps what came of it."""

    def __init__(
        self,
        api: Api,
        directory: Path,
        results: Results,
        say: Callable[[str], None],
        limit: int,
        patience: float = float("inf"),
    ) -> None:
        self._api = api
        self._directory = directory
        self._results = results
        self._say = say
        self._limit = limit
        self._patience = patience

    def history(self, entrant: Entrant, database: Database, number: int, *, changes: bool) -> None:
        """First sync, unchanged re-sync, and one after some statuses changed, on a new database."""
        with self._new(entrant, database) as (place, url):
            self._api.reset()
            if entrant.name == "writing" and not self._get_ready(place, url, database):
                return
            if not self.run(entrant, database, url, place, "first", number) or entrant.is_floor:
                return
            if entrant.name == OURS and database.name in ("sqlite", "postgresql"):
                self._keep_ready(url, database)
            if not self.run(entrant, database, url, place, "unchanged", number) or not changes:
                return
            if self.is_slow(entrant, database):
                return
            changed = self._api.advance(CHANGED)
            self.run(entrant, database, url, place, "changed", number, changed)

    def is_slow(self, entrant: Entrant, database: Database) -> bool:
        """Whether it took longer before than anyone wants to see again."""
        took = self._results.select(entrant=entrant.name, database=database.name)
        return any(one.seconds > self._patience for one in took)

    def latency(self, entrants: list[Entrant], database: Database, rounds: int) -> None:
        """Full re-listings of a complete mirror by each, in turn, over a slow network."""
        with self._new(entrants[0], database) as (place, url):
            self._api.reset()
            self.run(entrants[0], database, url, place, "before", 0, keep=False)
            for number in range(rounds):
                for entrant in entrants:
                    self._api.reset(LATENCY_MS)
                    _lay_out(entrant, place)
                    self.run(entrant, database, url, place, "latency", number)
            self._api.reset()

    def run(
        self,
        entrant: Entrant,
        database: Database,
        url: str,
        place: Path,
        scenario: str,
        number: int,
        changed: frozenset[str] | set[str] = frozenset(),
        *,
        keep: bool = True,
    ) -> bool:
        """Run one process, look at what it left, and say so; False if it failed."""
        mode = "first" if scenario in ("first", "before") else "again"
        words: list[str] = []
        for command in entrant.commands(self._api.url, url, mode):
            words += ["+", *command] if words else command
        requests, cpu = self._api.requests(), database.cpu()
        log = place / "log"
        measured = self._measure(words, place, log, entrant.environ)
        result: dict[str, Any] = {
            **measured,
            "server_cpu": database.cpu() - cpu,
            "requests": self._api.requests() - requests,
        }
        if measured["exit"] == 0 and not entrant.is_floor:
            result |= self._look(url, changed)
        one = Result(
            entrant.name,
            entrant.label,
            database.name,
            scenario,
            self._api.jobs,
            number,
            is_floor=entrant.is_floor,
            **result,
        )
        if keep:
            self._results.add(one)
            self._say(_line(one))
        if one.exit:
            lines = log.read_text("utf-8", "replace").splitlines()[-15:]
            self._say("\n".join(f"    {line}" for line in lines))
        return one.exit == 0

    def _measure(
        self, words: list[str], place: Path, log: Path, environ: dict[str, str]
    ) -> dict[str, Any]:
        command = [sys.executable, "-I", str(HERE / "measure.py"), str(self._limit), str(log)]
        plain = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        with subprocess.Popen(
            [*command, *words],
            stdout=subprocess.PIPE,
            cwd=place,
            start_new_session=True,  # so that all of it can be ended at once
            env={
                **plain,
                "HOME": str(place),
                "OPENAI_API_KEY": "sk-bench",
                "OPENAI_BASE_URL": self._api.url,
                **environ,
            },
        ) as process:
            try:
                return dict(json.loads(process.communicate()[0]))
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)

    def _look(self, url: str, changed: frozenset[str] | set[str]) -> dict[str, int | None]:
        truth, stored, counts = self._api.truth(), statuses(url), row_counts(url)
        wrong = sum(stored.get(job) != status for job, status in truth.items())
        seen = sum(stored.get(job) == truth[job] for job in changed)
        return {
            "rows": sum(counts.values()),
            "tables": sum(rows > 0 for rows in counts.values()),
            "wrong": wrong + len(stored.keys() - truth.keys()),
            "seen": seen if changed else None,
        }

    @contextmanager
    def _new(self, entrant: Entrant, database: Database) -> Iterator[tuple[Path, str]]:
        place = Path(tempfile.mkdtemp(dir=self._directory, prefix=f"{entrant.name}-"))
        _lay_out(entrant, place)
        url = database.create()
        try:
            yield place, url
        finally:
            database.drop(url)
            shutil.rmtree(place, ignore_errors=True)

    def _keep_ready(self, url: str, database: Database) -> None:
        folder = self._directory / f"ready-{database.name}"
        if not folder.exists():
            empty = database.create()
            ready.upgrade(empty)
            ready.export(url, empty, folder)
            database.drop(empty)

    def _get_ready(self, place: Path, url: str, database: Database) -> bool:
        folder = self._directory / f"ready-{database.name}"
        if folder.exists():
            ready.upgrade(url)
            (place / "ready").symlink_to(folder)
        return folder.exists()


def _lay_out(entrant: Entrant, place: Path) -> None:
    for name, content in entrant.files.items():
        (place / name).write_text(content)


def _line(one: Result) -> str:
    what = f"{one.label:24} {one.database:11} {one.scenario:10}"
    if one.exit:
        return f"{what} failed: exit {one.exit}"
    what += f"{one.seconds:8.2f} s {one.cpu:7.2f} s CPU {one.peak_mb:6.0f} MB"
    if one.seen is not None:
        what += f"  {one.seen} of {CHANGED} seen"
    return what + (f"  {one.wrong} WRONG" if one.wrong else "")
