"""Measure ftmirror beside what people would use instead.

    python -m benchmarks.run [--jobs N] [--rounds N] [--only NAME]… [--database NAME]… [--large]

Makes an environment for each contestant, lets all of them in turn mirror the same fake history,
looks at what each stored, prints what it found, and leaves it in the output directory (`docs/` when
everyone took part with 100,000 jobs) as `benchmarks.md`, `benchmarks.json` and `benchmarks.svg`.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path

from benchmarks import machine, plot, report
from benchmarks.databases import SERVERS, Database, Missing, Nothing, Sqlite
from benchmarks.entrants import OURS, Entrant, everyone, ours, with_workers
from benchmarks.environments import BUILD, ROOT, make, versions
from benchmarks.fake import serving
from benchmarks.results import Results, ratio
from benchmarks.startup import start_up
from benchmarks.targets import NAMES, SIZES, judge
from benchmarks.trials import Trials

#: Readers at once, to compare over a slow network.
WORKERS = (1, 8)
_REHEARSAL = 200
#: Jobs from which a comparison of everyone is worth showing.
PUBLISHED = 100_000


def arguments() -> argparse.Namespace:
    """What was asked for."""
    names = [one.name for one in everyone()]
    parser = argparse.ArgumentParser(prog="benchmarks.run", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--jobs", type=int, default=PUBLISHED, metavar="N", help="default: 100000")
    parser.add_argument("--rounds", type=int, default=3, metavar="N", help="default: 3")
    parser.add_argument("--only", action="append", choices=names, help="these alone; repeatable")
    parser.add_argument("--database", action="append", choices=list(NAMES), help="repeatable")
    parser.add_argument("--large", action="store_true", help="ours also with 1,000,000 jobs")
    parser.add_argument("--no-latency", action="store_true", help="leave the slow network out")
    parser.add_argument(
        "--patience",
        type=int,
        default=120,
        metavar="SECONDS",
        help="who takes longer has no changed re-sync and no further round; default: 120",
    )
    parser.add_argument(
        "--limit", type=int, default=3600, metavar="SECONDS", help="then a process is killed"
    )
    parser.add_argument(
        "--output", type=Path, metavar="DIR", help="default: docs for the whole, else build/bench"
    )
    wanted = parser.parse_args()
    if wanted.output is None:
        is_whole = wanted.jobs >= PUBLISHED and not (wanted.only or wanted.database)
        wanted.output = ROOT / "docs" if is_whole else BUILD / "results"
    return wanted


class Bench:
    """One run of the command."""

    def __init__(self, wanted: argparse.Namespace, stack: ExitStack) -> None:
        self.wanted = wanted
        self.entrants = [one for one in everyone() if not wanted.only or one.name in wanted.only]
        temporary = tempfile.TemporaryDirectory(prefix="ftbench", ignore_cleanup_errors=True)
        self.directory = Path(stack.enter_context(temporary))
        self.results = Results()
        self.notes: list[str] = []
        self.job_bytes = 0
        self.databases = self._databases(stack)

    def _databases(self, stack: ExitStack) -> dict[str, Database]:
        found: dict[str, Database] = {"sqlite": Sqlite(self.directory)}
        for name, server in SERVERS.items():
            if self._is_asked(name):
                try:
                    found[name] = stack.enter_context(server())
                except Missing as error:
                    self.notes.append(f"Left out: {error}.")
        found = {name: one for name, one in found.items() if self._is_asked(name)}
        return {**found, "none": Nothing()}

    def _is_asked(self, name: str) -> bool:
        return not self.wanted.database or name in self.wanted.database

    def rehearse(self) -> None:
        """Everyone once with few jobs: what fails, fails now, and what is compiled, is compiled."""
        for entrant in self.entrants:
            make(entrant.name)
        rehearsal, said = Results(), list[str]()
        with serving(_REHEARSAL) as api:
            trials = Trials(api, self._place(), rehearsal, said.append, self.wanted.limit)
            for entrant, database in self._turns(self.entrants):
                trials.history(entrant, database, 0, changes=True)
        bad = [f"{one.label}, {one.database}" for one in rehearsal.all if not one.is_good]
        if bad:
            say("\n".join(said))
            raise SystemExit(f"error: with {_REHEARSAL} jobs already wrong: {', '.join(bad)}")

    def compare(self) -> None:
        """All in turn, round by round; then the slow network."""
        with serving(self.wanted.jobs) as api:
            self.job_bytes = api.job_bytes()
            limits = self.wanted.limit, self.wanted.patience
            trials = Trials(api, self._place(), self.results, say, *limits)
            for number in range(self.wanted.rounds):
                say(f"\nRound {number + 1} of {self.wanted.rounds}")
                for entrant, database in self._turns(self.entrants):
                    if not trials.is_slow(entrant, database):
                        trials.history(entrant, database, number, changes=number == 0)
            self._note_the_slow(trials)
            if not self.wanted.no_latency and "sqlite" in self.databases and self._has_ours():
                self._slow_network(trials)

    def _note_the_slow(self, trials: Trials) -> None:
        for entrant, database in self._turns(self.entrants):
            if trials.is_slow(entrant, database):
                self.notes.append(
                    f"{entrant.label} on {NAMES.get(database.name, database.name)} took longer than"
                    f" {self.wanted.patience} s: measured once, and without the changed re-sync."
                )

    def _slow_network(self, trials: Trials) -> None:
        say("\nSlow network")
        found = [with_workers(count) for count in WORKERS]
        readers = [one for one in found if one]
        if not readers:
            readers = [ours(f"workers-{WORKERS[0]}", "ftmirror, 1 at once")]
            self.notes.append("`ftmirror sync` reads with one connection: no other was measured.")
        trials.latency(readers, self.databases["sqlite"], self.wanted.rounds)

    def grow(self) -> None:
        """Ours alone, by size."""
        for size in SIZES if self._has_ours() else ():
            if size == self.wanted.jobs:
                continue
            say(f"\n{size:,} jobs")
            with serving(size) as api:
                trials = Trials(api, self._place(), self.results, say, self.wanted.limit)
                rounds = 1 if size > self.wanted.jobs else self.wanted.rounds
                for number in range(rounds):
                    for name in ("sqlite", "postgresql"):
                        if name in self.databases:
                            trials.history(ours(), self.databases[name], number, changes=False)

    def conclude(self) -> report.Run:
        """What was found."""
        wanted = self.wanted
        started = start_up() if self._has_ours() else {}
        return report.Run(
            self.results,
            wanted.jobs,
            self.job_bytes,
            wanted.rounds,
            machine.describe(),
            self._versions(),
            started,
            judge(self.results, wanted.jobs, started, WORKERS),
            self.notes,
        )

    def _versions(self) -> dict[str, str]:
        found = {OURS: version(OURS)} if self._has_ours() else {}
        for one in self.entrants:
            found |= versions(one.name, one.packages)
        known = {NAMES[name]: one.version for name, one in self.databases.items() if name in NAMES}
        return {**found, **known}

    def _has_ours(self) -> bool:
        return any(one.name == OURS for one in self.entrants)

    def _place(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.directory))

    def _turns(self, entrants: Sequence[Entrant]) -> list[tuple[Entrant, Database]]:
        return [
            (entrant, database)
            for name, database in self.databases.items()
            for entrant in entrants
            if name in entrant.databases
        ]


def say(words: str) -> None:
    """Progress, on stderr."""
    print(words, file=sys.stderr, flush=True)


def picture(run: report.Run) -> str:
    """First sync and unchanged re-sync, by database, everyone."""
    panels = []
    for scenario, what in (("first", "First sync"), ("unchanged", "Unchanged full re-sync")):
        groups = []
        for database, name in {**NAMES, "none": "no database"}.items():
            bars = [
                _bar(run, database, scenario, entrant, label, is_floor)
                for entrant, label, is_floor in run.results.lines(run.jobs, database)
            ]
            if kept := [bar for bar in bars if bar]:
                groups.append(plot.Group(name, kept))
        if groups:
            panels.append(plot.Panel(what, groups))
    processor, cores = run.machine["processor"], run.machine["cores"]
    subtitle = f"{processor}, {cores} cores; local fake API. N×: N times as long as ftmirror."
    return plot.draw(f"Mirroring {run.jobs:,} fine-tuning jobs", subtitle, panels)


def _bar(
    run: report.Run, database: str, scenario: str, entrant: str, label: str, is_floor: bool
) -> plot.Bar | None:
    wanted = {"database": database, "scenario": scenario, "jobs": run.jobs}
    own = run.results.seconds(entrant=OURS, **wanted)
    if database == "none":
        wanted["scenario"] = "first"  # reading every page is the same work each time
    took = run.results.seconds(entrant=entrant, **wanted)
    if took is None:
        return None
    times = ratio(took, own)
    is_ours = entrant == OURS
    remark = "" if is_ours or times is None else f"{times:.1f}×" if times < 10 else f"{times:.0f}×"
    return plot.Bar(label, took, "ours" if is_ours else "floor" if is_floor else "peer", remark)


def write(run: report.Run, directory: Path) -> None:
    """Leave it in the output directory."""
    directory.mkdir(parents=True, exist_ok=True)
    raw = {
        "jobs": run.jobs,
        "job_bytes": run.job_bytes,
        "rounds": run.rounds,
        "machine": run.machine,
        "versions": run.versions,
        "start_up_cpu": run.start_up,
        "targets": [
            {"target": one.text, "asked": one.asked, "found": one.figure, "verdict": one.verdict}
            for one in run.targets
        ],
        "results": run.results.plain(),
    }
    (directory / "benchmarks.json").write_text(json.dumps(raw, indent=1, ensure_ascii=False) + "\n")
    (directory / "benchmarks.md").write_text(report.page(run))
    (directory / "benchmarks.svg").write_text(picture(run))


def _end(number: int, _: object) -> None:
    """End as if by an error: servers and processes are ended, what was made is taken away."""
    sys.exit(128 + number)


def main() -> None:
    """Run the benchmark; exit 1 if ours failed or stored something wrong."""
    wanted = arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    began = time.monotonic()
    with ExitStack() as stack:
        bench = Bench(wanted, stack)
        bench.rehearse()
        bench.compare()
        if wanted.large:
            bench.grow()
        run = bench.conclude()
        write(run, wanted.output)
    print(report.terminal(run))
    say(f"\n{time.monotonic() - began:.0f} s in all; results in {wanted.output}")
    sys.exit(any(not one.is_good for one in run.results.all if one.entrant == OURS))


if __name__ == "__main__":
    main()
