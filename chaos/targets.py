"""What we want of ourselves, and whether these figures show it: a table of 80 columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from chaos.databases import NAMES

#: What each part found on one database, by the part's name; a part that was left out is missing.
Figures = Mapping[str, Any]

#: What a round of each part is in proportion to the kill rounds.
ROUNDS = 200
PAIRS_EACH, CASES_EACH, TRIALS_EACH = 0.5, 50.0, 0.025


@dataclass(frozen=True)
class Sizes:
    """How much of each part, for so many kill rounds."""

    rounds: int = ROUNDS

    @property
    def pairs(self) -> int:
        """Pairs of syncs on each database."""
        return max(1, round(self.rounds * PAIRS_EACH))

    @property
    def cases(self) -> int:
        """Arbitrary cases on all databases together."""
        return max(8, round(self.rounds * CASES_EACH))

    @property
    def trials(self) -> int:
        """Mirrors over a failing API, at each rate, on each database."""
        return max(1, round(self.rounds * TRIALS_EACH))


@dataclass(frozen=True)
class Target:
    """One line of the table."""

    text: str
    asked: str
    #: The part that brings it; what it found, in words, and whether that will do.
    part: str
    shown: Callable[[Any], str]
    is_met: Callable[[Any], bool]
    #: The databases that have it.
    databases: Sequence[str] = tuple(NAMES)


def targets(sizes: Sizes) -> list[Target]:
    """All of them."""
    servers = ("postgresql", "mariadb")
    return [
        Target(
            "random kills, then one run: equal",
            f"{sizes.rounds}/{sizes.rounds}",
            "kills",
            lambda one: f"{one['survived']}/{one['rounds']}",
            lambda one: one["survived"] == one["rounds"] >= sizes.rounds,
        ),
        Target(
            "30 % faults: runs until equal",
            "≤ 3",
            "faults",
            lambda one: _runs(one["high"]),
            lambda one: all(trial["is_equal"] for trial in one["high"]),
        ),
        Target(
            "  records lost",
            "0",
            "faults",
            lambda one: str(sum(trial["lost"] for trial in one["high"])),
            lambda one: not any(trial["lost"] for trial in one["high"]),
        ),
        Target(
            "5 % faults: complete after one run",
            "all",
            "faults",
            lambda one: f"{sum(_at_once(one['low']))}/{len(one['low'])}",
            lambda one: all(_at_once(one["low"])),
        ),
        Target(
            "  time beyond the waits asked for",
            "≤ 1.2×",
            "faults",
            lambda one: f"{one['time']:.2f}×",
            lambda one: one["time"] <= 1.2,
        ),
        Target(
            "key revoked, long wait: next run",
            "all",
            "faults",
            lambda one: f"{sum(_by_the_next(one['stopped']))}/{len(one['stopped'])}",
            lambda one: all(_by_the_next(one["stopped"])),
        ),
        Target(
            "database cut off: runs until equal",
            "≤ 3",
            "faults",
            lambda one: _runs(one["cut_off"]),
            lambda one: all(trial["is_equal"] for trial in one["cut_off"]),
            servers,
        ),
        Target(
            "arbitrary JSON: cases, in all",
            f"{sizes.cases:,}",
            "arbitrary",
            lambda one: f"{one['cases']:,}",
            lambda one: one["cases"] >= one["asked"],
        ),
        Target(
            "  tracebacks; neighbours lost",
            "0; 0",
            "arbitrary",
            lambda one: f"{one['tracebacks']}; {one['lost']}",
            lambda one: not one["tracebacks"] and not one["lost"],
        ),
        Target(
            "two syncs at once: one works",
            f"{sizes.pairs}/{sizes.pairs}",
            "overlap",
            lambda one: f"{one['right']}/{one['rounds']}",
            lambda one: one["right"] == one["rounds"] >= sizes.pairs,
        ),
        Target(
            "key found in any output",
            "0",
            "keys",
            lambda one: str(len(one["places"])),
            lambda one: one["searched"] > 0 and not one["places"],
        ),
    ]


def _runs(trials: Sequence[Mapping[str, Any]]) -> str:
    if not trials:
        return "–"
    most = max(trial["runs"] for trial in trials)
    return str(most) if all(trial["is_equal"] for trial in trials) else f"over {most}"


def _at_once(trials: Sequence[Mapping[str, Any]]) -> list[bool]:
    return [trial["is_complete"] and trial["runs"] == 1 for trial in trials]


def _by_the_next(trials: Sequence[Mapping[str, Any]]) -> list[bool]:
    return [trial["is_complete"] and trial["runs"] == 2 for trial in trials]


@dataclass
class Judgement:
    """The table, and whether every target in it was met."""

    lines: list[tuple[str, ...]] = field(default_factory=list)
    is_met: bool = True


def judge(found: Mapping[str, Figures], sizes: Sizes) -> Judgement:
    """Hold what was found on each database against the targets."""
    judged = Judgement()
    for target in targets(sizes):
        cells = []
        for name, figures in found.items():
            one = figures.get(target.part)
            if one is None or name not in target.databases:
                cells.append("–")
                continue
            is_met = target.is_met(one)
            judged.is_met = judged.is_met and is_met
            cells.append(target.shown(one) + ("" if is_met else " !"))
        if any(cell != "–" for cell in cells):
            judged.lines.append((target.text, target.asked, *cells))
    return judged


def table(found: Mapping[str, Figures], judged: Judgement) -> str:
    """The judgement as text: the first column to the left, the others to the right."""
    heading = ("", "asked", *(NAMES[name] for name in found))
    lines = [heading, *judged.lines]
    widths = [max(len(line[place]) for line in lines) for place in range(len(heading))]
    rows = [
        "  ".join(
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    rule = "  ".join("─" * width for width in widths)
    return "\n".join([rows[0], rule, *rows[1:]])
