"""The lines of the published figures that the README quotes: `python -m benchmarks.quoted`."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.entrants import OURS
from benchmarks.environments import ROOT
from benchmarks.results import Result, Results, ratio
from benchmarks.tables import Table, markdown
from benchmarks.targets import NAMES

PUBLISHED = ROOT / "docs" / "benchmarks.json"
_SCENARIOS = {"first": "first sync", "unchanged": "nothing changed"}


def quoted(path: Path = PUBLISHED) -> str:
    """Our seconds, and how many times as long each other tool took, as a table in Markdown."""
    raw = json.loads(path.read_text("utf-8"))
    results = Results(Result(**one) for one in raw["results"])
    others = {
        one.entrant: one.label
        for one in results.all
        if one.jobs == raw["jobs"] and not one.is_floor and not one.entrant.startswith("workers-")
    }
    lines = []
    for database, name in NAMES.items():
        for scenario, what in _SCENARIOS.items():
            wanted = {"database": database, "scenario": scenario, "jobs": raw["jobs"]}
            own = results.seconds(entrant=OURS, **wanted)
            times = [
                ratio(results.seconds(entrant=one, **wanted), own) for one in others if one != OURS
            ]
            lines.append(
                (f"{name}, {what}", "–" if own is None else f"{own:.1f} s", *map(_times, times))
            )
    heading = (f"{raw['jobs']:,} jobs", *others.values())
    return markdown(Table("", heading, lines))


def _times(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}×" if value < 10 else f"{value:.0f}×"


if __name__ == "__main__":
    print(quoted())
