"""Two syncs started together: exactly one works, the other is told so, or waits for its turn."""

from __future__ import annotations

import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from sqlalchemy import select

from chaos.comparing import Contents, contents, differences, unsound
from chaos.databases import opened
from chaos.ground import SYNC, Case, Failed, Ground
from chaos.processes import PATIENCE, Command, Plain, Zygote
from etl.cli.runs import sync
from etl.db.tables import sync_runs
from etl.errors import EtlError

#: When a run began, when it ended, and its status.
_Span = tuple[datetime, datetime | None, str]

LOCKED = 4
#: One in so many pairs is started as people start it.
PLAIN_EVERY = 10
#: One in so many of the pairs has a second one that waits.
WAITING_EVERY = 3
_LOOK = 0.003
#: Pairs for one that counts, at most.
_TRIES = 2


@dataclass
class Overlaps:
    """What came of the pairs on one database."""

    rounds: int = 0
    #: Pairs of which exactly one worked at a time, and the mirror was right in the end.
    right: int = 0
    #: Pairs in which the second one waited, and then worked too.
    waited: int = 0
    #: Pairs of which one had ended before the other began: they do not count.
    apart: int = 0
    #: How the other one ended, by its exit code.
    codes: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class _Done:
    code: int
    err: str
    out: str


#: What a pair finds: a mirror without tables, an empty one, one that has to be brought up to date.
BASES = ("nothing", "schema", "followed", "followed")


def pairs(
    ground: Ground,
    zygotes: tuple[Zygote, Zygote],
    seed: int,
    count: int,
    say: Callable[[str], None],
    bases: Sequence[str] = BASES,
) -> Overlaps:
    """So many pairs; the same ones for the same seed."""
    found = Overlaps()
    number = -1
    while found.rounds < count and number < count * _TRIES:
        number += 1
        dice = random.Random(f"{seed} {ground.database.name} pair {number}")
        try:
            problems = _pair(ground, zygotes, dice.choice(bases), dice, found)
        except (Failed, EtlError) as failure:
            problems = [str(failure)]
        if problems is None:
            found.apart += 1
            continue
        found.rounds += 1
        found.right += not problems
        if problems:
            lines = "\n  ".join(problems)
            found.failures.append(f"{ground.database.name}, seed {seed}, pair {number}:\n  {lines}")
            say(found.failures[-1])
        if found.rounds % 20 == 0:
            say(f"{ground.database.name}: {found.right} of {found.rounds} pairs were right")
    return found


def _pair(
    ground: Ground,
    zygotes: tuple[Zygote, Zygote],
    base_name: str,
    dice: random.Random,
    found: Overlaps,
) -> list[str] | None:
    """What went wrong with one; None where the two did not meet."""
    waits = can_wait() and dice.randrange(WAITING_EVERY) == 0
    is_plain = dice.randrange(PLAIN_EVERY) == 0
    base = ground.base(base_name)
    url = ground.database.copy(base.url)
    calls = [SYNC, (*SYNC, "--wait", "60s") if waits else SYNC]
    commands = [ground.command(call, url, 2) for call in calls]
    ended = _together(ground.directory, zygotes, commands, dice.uniform(0, 0.05), plain=is_plain)
    spans = _spans(url, base.moment.run_id)
    if not waits and [one.code for one in ended] == [0, 0] and not _are_at_once(spans):
        ground.database.drop(url)
        return None
    problems = _wrong_ends(ended, found, waits=waits)
    with opened(url) as engine:
        problems += _wrong_runs(spans, ended)
        problems += unsound(engine)
        mirror = contents(engine, base.moment)
    problems += differences(mirror, _expected(ground, base_name))
    ground.database.drop(url)
    return problems


def can_wait() -> bool:
    """Does `sync` know `--wait`?"""
    return any("--wait" in one.opts for one in sync.params)


def _expected(ground: Ground, base_name: str) -> Contents:
    """What one undisturbed run makes of that."""
    return ground.expected(Case(f"one sync on {base_name}", base_name, SYNC))


def _together(
    directory: Path,
    zygotes: tuple[Zygote, Zygote],
    commands: Sequence[Command],
    apart: float,
    *,
    plain: bool,
) -> list[_Done]:
    """Start both, so many seconds apart, and let them end."""
    running: list[tuple[Plain | Zygote, Path]] = []
    began = time.monotonic()
    for zygote, command in zip(zygotes, commands, strict=True):
        place = Path(tempfile.mkdtemp(dir=directory))
        if plain:
            running.append((Plain(command, place, place / "out", place / "err"), place))
        else:
            zygote.start(command, place, place / "out", place / "err")
            running.append((zygote, place))
        if len(running) == 1:
            time.sleep(apart)
    waiting = [process for process, _ in running]
    codes: dict[int, int] = {}
    while waiting:
        # Who is over is reaped at once: a zombie would look alive to the other.
        for process in [one for one in waiting if one.is_over()]:
            codes[id(process)] = process.code()
            waiting.remove(process)
        if time.monotonic() - began > PATIENCE:
            for process in waiting:
                process.strike(signal.SIGKILL)
        time.sleep(_LOOK)
    return [
        _Done(codes[id(process)], _text(place / "err"), _text(place / "out"))
        for process, place in running
    ]


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.exists() else ""


def _wrong_ends(ended: Sequence[_Done], found: Overlaps, *, waits: bool) -> list[str]:
    """Do the exit codes say that one worked, and the other was refused or came later?"""
    codes = sorted(one.code for one in ended)
    found.codes.update(codes)
    problems = [f"a traceback: {one.err[-2000:]}" for one in ended if "Traceback" in one.err]
    if waits and codes == [0, 0]:
        found.waited += 1
    elif codes != [0, LOCKED]:
        said = "; ".join(f"{one.code}: {one.err[-600:].strip()}" for one in ended)
        problems.append(f"exit codes {codes}{' (one was to wait)' if waits else ''}: {said}")
    return problems + [
        f"the refused one does not say who works: {one.err} {one.out}"
        for one in ended
        if one.code == LOCKED and ("pid" not in one.err or '"locked"' not in one.out)
    ]


def _spans(url: str, before: int) -> list[_Span]:
    query = select(sync_runs).where(sync_runs.c.id > before).order_by(sync_runs.c.id)
    with opened(url) as engine, engine.connect() as connection:
        return [
            (line.started_at, line.finished_at, line.status) for line in connection.execute(query)
        ]


def _wrong_runs(spans: Sequence[_Span], ended: Sequence[_Done]) -> list[str]:
    """Is there one line in the log for each that worked, one after the other?"""
    worked = sum(one.code == 0 for one in ended)
    problems = []
    if len(spans) != worked or any(status != "success" for _, _, status in spans):
        problems.append(f"{worked} worked, and the log of runs says {spans}")
    return [*problems, *([f"two runs at once: {spans}"] if _are_at_once(spans) else [])]


def _are_at_once(spans: Sequence[_Span]) -> bool:
    return any(one[1] is None or one[1] > other[0] for one, other in pairwise(spans))
