"""Processes killed anywhere: after one clean run, is the mirror that of somebody never disturbed?

A round takes a mirror in a known state, starts a command up to three times and kills each, runs it
once to its end, and holds every table against those of a mirror that was left in peace.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from chaos.comparing import (
    SEEN_OTHERWISE,
    Contents,
    contents,
    differences,
    unsound,
    without,
)
from chaos.databases import opened
from chaos.ground import Case, Failed, Ground, cases, check
from chaos.processes import PHASES, Blow, Ended, chosen

#: How the disturbed runs read and write; nothing of it may show in the tables.
KNOBS: tuple[dict[str, int], ...] = ({}, {"page": 3, "pace": 40}, {"page": 2, "pace": 15, "far": 1})
#: One in so many processes is started as people start it, which takes so many seconds longer.
PLAIN_EVERY, PLAIN_SECONDS = 10, 0.8
#: Seconds within which a blow falls that is for no phase of its own.
ANYWHERE = 0.4
#: Rounds for one that counts, at most: where a process is through too often, that is no proof.
_TRIES = 3


@dataclass
class Tally:
    """What came of the rounds on one database."""

    #: Rounds in which at least one process was killed, and those of them that ended well.
    rounds: int = 0
    survived: int = 0
    #: Rounds in which each process was through before its blow fell.
    escaped: int = 0
    #: Kills by phase and by signal.
    struck: Counter[str] = field(default_factory=Counter)
    signals: Counter[str] = field(default_factory=Counter)
    by_case: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def rounds(
    ground: Ground,
    seed: int,
    count: int,
    say: Callable[[str], None],
    known: Sequence[Case] = (),
) -> Tally:
    """Rounds until so many count, the same ones for the same seed. `known`: only these cases."""
    tally = Tally()
    number = 0
    while tally.rounds < count and number < count * _TRIES:
        one_round(ground, seed, number, tally, say, known)
        number += 1
        if number % 20 == 0:
            say(f"{ground.database.name}: {tally.survived} of {tally.rounds} kill rounds survived")
    return tally


def one_round(
    ground: Ground,
    seed: int,
    number: int,
    tally: Tally,
    say: Callable[[str], None],
    known: Sequence[Case] = (),
) -> None:
    """One round, by its number."""
    name = ground.database.name
    dice = random.Random(f"{seed} {name} {number}")
    known = known or cases()
    case = dice.choices(known, [one.weight for one in known])[0]
    base = ground.base(case.base)
    url = ground.database.copy(base.url)
    told = [case.name]
    try:
        kills = _disturb(ground, case, url, dice, told, tally)
        problems = _judge(ground, case, url, dice)
    except Failed as failure:
        kills, problems = 1, [str(failure)]
    if kills or problems:
        tally.rounds += 1
        tally.by_case[case.name] += 1
        tally.survived += not problems
    else:
        tally.escaped += 1
    if problems:
        lines = "\n  ".join([", then ".join(told), *problems])
        tally.failures.append(f"{name}, seed {seed}, round {number}: {lines}")
        say(tally.failures[-1])
    ground.database.drop(url)


def _disturb(
    ground: Ground, case: Case, url: str, dice: random.Random, told: list[str], tally: Tally
) -> int:
    """Start the command some times and strike; how often that ended it."""
    kills = 0
    wanted = len(case.moments) - 1 if case.is_moving else dice.choice((1, 1, 2, 3))
    for turn in range(wanted):
        is_plain = dice.randrange(PLAIN_EVERY) == 0
        knobs = {} if is_plain else dice.choice(KNOBS)
        at = case.moments[min(turn, len(case.moments) - 1)]
        blow = _blow(ground, case, dice, knobs, is_plain=is_plain)
        # How many readers, and how much is said, makes no difference to what is written.
        readers = ("--workers", dice.choice("148")) if "sync" in case.argv else ()
        loudness = dice.choice(((), (), ("-vv", "--log-format", "json")))
        command = ground.command((*case.argv, *readers, *loudness), url, at, knobs)
        ended = ground.runner.run(command, blow, is_plain=is_plain)
        told.append(f"{blow}{' (plain)' if is_plain else ''}: {ended.code} in {ended.struck_in}")
        _require_a_clean_end(ended, blow, case)
        if ended.was_killed:
            kills += 1
            tally.struck[ended.struck_in or ""] += 1
            tally.signals[blow.signal.name] += 1
    return kills


def _blow(
    ground: Ground, case: Case, dice: random.Random, knobs: dict[str, int], *, is_plain: bool
) -> Blow:
    profile = ground.profile(case, knobs)
    # A plain process tells nothing; only what it asks the API for can be seen.
    visible = ("listing", "children") if is_plain else PHASES
    phases = [phase for phase in visible if profile.get(phase)]
    phase = dice.choice([*phases, "any"])
    longest = ANYWHERE + (PLAIN_SECONDS if is_plain else 0)
    return chosen(dice, phase, profile.get(phase, 0), longest)


def _require_a_clean_end(ended: Ended, blow: Blow, case: Case) -> None:
    """A process that was struck is killed, or was through: anything else is a mistake."""
    if ended.is_hanging:
        raise Failed(f"hangs after {blow}: {ended.err[-1500:]}")
    if not ended.was_killed and ended.code not in case.codes:
        raise Failed(f"exit code {ended.code} after {blow}: {ended.err[-1500:]}")
    if "Traceback" in ended.err and ended.struck_in != "starting":
        trace = ended.err[ended.err.index("Traceback") :]
        raise Failed(f"a traceback after {blow}: {trace[:4000]}")


def _judge(ground: Ground, case: Case, url: str, dice: random.Random) -> list[str]:
    """One clean run; then what is not as it should be."""
    # With pages as large as the undisturbed mirror's: that something final changed, only the pages
    # that are read can tell.
    knobs = dice.choice(({}, {}, {"pace": 20}))
    command = ground.command(case.argv, url, case.moments[-1], knobs)
    is_plain = dice.randrange(PLAIN_EVERY) == 0
    check(ground.runner.run(command, is_plain=is_plain), case.argv, case.codes)
    ground.finish(case, url)
    with opened(url) as engine:
        found = contents(engine, ground.base(case.base).moment)
        problems = unsound(engine)
    expected = ground.expected(case)
    if case.is_moving:
        found, expected = (
            without(_standing(ground, case, one), SEEN_OTHERWISE) for one in (found, expected)
        )
    return problems + differences(found, expected)


def _standing(ground: Ground, case: Case, mirror: Contents) -> Contents:
    """Without what the API no longer has: only who came by in time could mirror that."""
    at = case.moments[-1]
    gone: set[str] = set()
    named: set[str] = set()
    for job in mirror["jobs"]:
        files = {job["training_file"], job["validation_file"]}
        results = (row for row in mirror["job_result_files"] if row["job_id"] == job["id"])
        files |= {row["file_id"] for row in results}
        if ground.is_there(job["id"], at):
            named |= files
        else:
            gone |= {job["id"], job["fine_tuned_model"], *files}
    gone -= named
    for row in mirror["job_checkpoints"]:
        if row["job_id"] in gone:
            gone |= {row["id"], row["fine_tuned_model_checkpoint"]}
    gone |= {row["id"] for row in mirror["job_events"] if row["job_id"] in gone}
    files = {row["id"] for row in mirror["files"]}
    files |= {row["parent_id"] for row in mirror["child_progress"] if "file-" in row["parent_id"]}
    gone |= {one for one in files if not ground.is_there(one, at)}
    gone |= {
        row["id"]
        for row in mirror["checkpoint_permissions"]
        if row["fine_tuned_model_checkpoint"] in gone
    }
    gone.discard(None)
    places = ("id", "job_id", "parent_id", "origin_id", "record_id", "fine_tuned_model_checkpoint")
    return {
        name: [row for row in rows if not any(row.get(place) in gone for place in places)]
        for name, rows in mirror.items()
    }
