"""Let everything go wrong that may go wrong, and print what is left.

    python -m chaos.run [--rounds N] [--seed S] [--database NAME]… [--only PART]… [--json FILE]

Kills processes at random moments, lets the API and the database's connection fail, starts two at
once, sends anything at all instead of records, and looks for keys in all that was written. The
table of targets goes to stdout, all else to stderr; exit code 1 where a target was missed.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chaos import arbitrary, faults, keys, kills, overlap
from chaos.databases import NAMES, Database, Missing, Server, serving
from chaos.ground import laid
from chaos.processes import Bell, Runner, zygote
from chaos.targets import ROUNDS, Sizes, judge, table

PARTS = ("kills", "faults", "overlap", "arbitrary", "keys")
#: Of 100 arbitrary cases so many are tried on each database.
SHARES = {"sqlite": 50, "postgresql": 25, "mariadb": 25}
#: Jobs of the world that is mirrored over a failing API.
JOBS = 200


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="chaos.run", description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--rounds",
        type=int,
        default=ROUNDS,
        metavar="N",
        help=f"kill rounds on each database, the other parts in proportion; default: {ROUNDS}",
    )
    parser.add_argument("--seed", type=int, default=1, metavar="S", help="default: 1")
    parser.add_argument("--database", action="append", choices=list(NAMES), help="repeatable")
    parser.add_argument("--only", action="append", choices=PARTS, help="repeatable")
    parser.add_argument("--round", type=int, metavar="N", help="this one kill round alone")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all figures and failures")
    return parser.parse_args()


class Bench:
    """One run of the command on one kind of database."""

    def __init__(self, wanted: argparse.Namespace, database: Database, directory: Path) -> None:
        self.wanted = wanted
        self.database = database
        self.directory = directory
        self.sizes = Sizes(wanted.rounds)
        self.figures: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """All parts that are wanted; what each found, with the seconds that it took."""
        parts: dict[str, Callable[[], dict[str, Any]]] = {
            "kills": self.kills,
            "overlap": self.overlap,
            "faults": self.faults,
            "arbitrary": self.arbitrary,
            "keys": self.keys,
        }
        for name, part in parts.items():
            if self.wanted.only and name not in self.wanted.only:
                continue
            began = time.monotonic()
            found = part()
            took = time.monotonic() - began
            self.figures[name] = {**found, "seconds": round(took, 1)}
            say(f"{self.database.name}: {name} took {took:.0f} s")
        return self.figures

    def kills(self) -> dict[str, Any]:
        """Processes killed."""
        with ExitStack() as stack:
            bell = stack.enter_context(Bell())
            runner = Runner(stack.enter_context(zygote()), bell, self._place("kills"))
            ground = stack.enter_context(
                laid(self.database, runner, bell, self._place("ground"), self.wanted.seed)
            )
            if self.wanted.round is not None:
                tally = kills.Tally()
                kills.one_round(ground, self.wanted.seed, self.wanted.round, tally, say)
            else:
                tally = kills.rounds(ground, self.wanted.seed, self.sizes.rounds, say)
        return {
            **asdict(tally),
            "struck": dict(tally.struck),
            "signals": dict(tally.signals),
            "by_case": dict(tally.by_case),
        }

    def overlap(self) -> dict[str, Any]:
        """Two at once."""
        with ExitStack() as stack:
            bell = stack.enter_context(Bell())
            zygotes = stack.enter_context(zygote()), stack.enter_context(zygote())
            runner = Runner(zygotes[0], bell, self._place("overlap"))
            ground = stack.enter_context(
                laid(self.database, runner, bell, self._place("pairs"), self.wanted.seed)
            )
            found = overlap.pairs(ground, zygotes, self.wanted.seed, self.sizes.pairs, say)
        return {**asdict(found), "codes": {str(code): n for code, n in found.codes.items()}}

    def faults(self) -> dict[str, Any]:
        """An API and a connection that fail."""
        seed = self.wanted.seed
        bench = faults.FaultBench(self.database, seed, JOBS, say)
        seeds = range(seed * 100, seed * 100 + self.sizes.trials)
        low = [bench.faulty(faults.LOW, one) for one in seeds]
        found = {
            "low": low,
            "high": [bench.faulty(faults.HIGH, one) for one in seeds],
            "stopped": [
                trial for one in seeds for trial in (bench.revoked(one), bench.long_wait(one))
            ],
            "cut_off": []
            if self.database.name == "sqlite"
            else [bench.cut_off(one) for one in range(seeds.start, seeds.stop + len(seeds))],
        }
        ratio = statistics.median(one.seconds / one.clean_seconds for one in low)
        plain = {name: [asdict(one) for one in trials] for name, trials in found.items()}
        failures = [str(one) for trials in found.values() for one in trials if one.problems]
        return {**plain, "time": round(ratio, 3), "failures": failures}

    def arbitrary(self) -> dict[str, Any]:
        """Anything instead of records."""
        names = [name for name in NAMES if not self.wanted.database or name in self.wanted.database]
        share = SHARES[self.database.name] / sum(SHARES[name] for name in names)
        asked = round(self.sizes.cases * share)
        found = arbitrary.cases(self.database, self.directory, self.wanted.seed, asked, say)
        return {**asdict(found), "by_kind": dict(found.by_kind), "asked": asked}

    def keys(self) -> dict[str, Any]:
        """Keys in what was written."""
        server = self.database if isinstance(self.database, Server) else None
        found = keys.talkative(self.database.name, server, self.directory, say)
        rounds = keys.written(self.directory)
        searched = found.searched + rounds.searched
        return {"searched": searched, "places": found.places + rounds.places}

    def _place(self, name: str) -> Path:
        place = self.directory / name
        place.mkdir(exist_ok=True)
        return place


def say(words: str) -> None:
    """Progress, on stderr."""
    print(words, file=sys.stderr, flush=True)


def _end(number: int, _: object) -> None:
    """End as if by an error: servers and processes are ended, what was made is taken away."""
    sys.exit(128 + number)


def main() -> None:
    """Run the bench; exit 1 if a target was missed."""
    wanted = arguments()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _end)
    # What runs in this process warns of each fault it meets.
    logging.getLogger("etl").setLevel(logging.CRITICAL)
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    began = time.monotonic()
    found: dict[str, dict[str, Any]] = {}
    missing = []
    with tempfile.TemporaryDirectory(prefix="ftchaos", ignore_cleanup_errors=True) as temporary:
        for name in NAMES:
            if wanted.database and name not in wanted.database:
                continue
            place = Path(temporary) / name
            place.mkdir()
            try:
                with serving(name, place) as database:
                    found[name] = Bench(wanted, database, place).run()
            except Missing as error:
                missing.append(f"Left out: {error}.")
    sizes = Sizes(wanted.rounds)
    judged = judge(found, sizes)
    if wanted.json is not None:
        plain = {"seed": wanted.seed, "rounds": wanted.rounds, "databases": found}
        wanted.json.write_text(json.dumps(plain, indent=1, ensure_ascii=False) + "\n")
    print(table(found, judged))
    for words in [*missing, *_told(found)]:
        print(words)
    say(f"{time.monotonic() - began:.0f} s in all")
    sys.exit(not judged.is_met or bool(missing))


def _told(found: dict[str, dict[str, Any]]) -> list[str]:
    """What the figures stand on."""
    said = []
    for name, figures in found.items():
        if "kills" in figures:
            one = figures["kills"]
            where = ", ".join(f"{one['struck'][phase]} {phase}" for phase in sorted(one["struck"]))
            said.append(f"{NAMES[name]}: killed in {where}; {one['escaped']} rounds escaped.")
    return said


if __name__ == "__main__":
    main()
