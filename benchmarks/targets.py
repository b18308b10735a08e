"""What we want of ourselves, and whether these results show it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchmarks.entrants import OURS
from benchmarks.results import Results, ratio

NAMES = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mariadb": "MariaDB"}
#: The sizes of our own growth.
SIZES = (10_000, 100_000, 1_000_000)


@dataclass(frozen=True)
class Target:
    """One of them."""

    text: str
    goal: float
    #: None where it was not measured; `why` may say more.
    figure: float | None
    unit: str = "×"
    is_floor: bool = True
    why: str = "not measured"

    @property
    def verdict(self) -> str:
        """In one word or two."""
        if self.figure is None:
            return self.why
        return "met" if self._is_met(self.figure) else "missed"

    @property
    def asked(self) -> str:
        """The goal, as people write it."""
        return f"{'≥' if self.is_floor else '≤'} {self.goal:g}{_space(self.unit)}{self.unit}"

    @property
    def found(self) -> str:
        """The figure, as people write it."""
        if self.figure is None:
            return "–"
        digits = 0 if self.figure >= 100 or not self.unit else 1 if self.figure >= 10 else 2
        return f"{self.figure:.{digits}f}{_space(self.unit)}{self.unit}"

    def _is_met(self, figure: float) -> bool:
        return figure >= self.goal if self.is_floor else figure <= self.goal


def _space(unit: str) -> str:
    return "" if unit in ("", "×") else " "


def judge(
    results: Results, jobs: int, start_up: dict[str, float], workers: tuple[int, int]
) -> list[Target]:
    """Every target, with what was found."""
    return [
        *_against_dlt(results, jobs),
        *_against_ourselves(results, jobs, workers),
        *_growth(results),
        *(
            Target(
                f"start-up: CPU of `ftmirror {name}`, beyond Python's own",
                0.15,
                start_up.get(name),
                "s",
                is_floor=False,
            )
            for name in ("version", "-h")
        ),
        *_right(results),
    ]


def _against_dlt(results: Results, jobs: int) -> Iterator[Target]:
    for scenario, goals in (("first", (5, 5)), ("unchanged", (20, 15))):
        what = "first sync" if scenario == "first" else "unchanged re-sync"
        for database, goal in zip(("sqlite", "postgresql"), goals, strict=True):
            wanted = {"scenario": scenario, "database": database, "jobs": jobs}
            yield Target(
                f"{what}, {NAMES[database]}: faster than dlt",
                goal,
                ratio(
                    results.seconds(entrant="dlt", **wanted),
                    results.seconds(entrant=OURS, **wanted),
                ),
            )
            if scenario == "first":
                yield Target(
                    f"{what}, {NAMES[database]}: less CPU than dlt",
                    goal,
                    ratio(
                        results.cpu(entrant="dlt", **wanted), results.cpu(entrant=OURS, **wanted)
                    ),
                )


def _against_ourselves(results: Results, jobs: int, workers: tuple[int, int]) -> Iterator[Target]:
    for scenario, what in (("first", "first sync"), ("unchanged", "unchanged re-sync")):
        took = {
            database: results.seconds(entrant=OURS, database=database, scenario=scenario, jobs=jobs)
            for database in ("mariadb", "postgresql")
        }
        yield Target(
            f"{what}: time on MariaDB against PostgreSQL",
            2.5,
            ratio(took["mariadb"], took["postgresql"]),
            is_floor=False,
        )
    yield Target(
        "unchanged re-sync, SQLite: time against bare paging",
        2,
        ratio(
            results.seconds(entrant=OURS, database="sqlite", scenario="unchanged", jobs=jobs),
            results.seconds(entrant="paging", scenario="first", jobs=jobs),
        ),
        is_floor=False,
    )
    one, many = (
        results.seconds(entrant=f"workers-{count}", scenario="latency", jobs=jobs)
        for count in workers
    )
    yield Target(
        f"re-listing at 20 ms latency: {workers[1]} readers faster than {workers[0]}",
        6,
        ratio(one, many),
    )


def _growth(results: Results) -> Iterator[Target]:
    peaks = [
        [
            results.peak(entrant=OURS, database=database, scenario=scenario, jobs=size)
            for size in SIZES[1:]
        ]
        for database in ("sqlite", "postgresql")
        for scenario in ("first", "unchanged")
    ]
    yield Target(
        "peak memory, 1,000,000 jobs against 100,000",
        1.2,
        _worst(ratio(large, small) for small, large in peaks),
        is_floor=False,
    )
    yield Target(
        "peak memory, 1,000,000 jobs", 150, _worst(one[1] for one in peaks), "MB", is_floor=False
    )
    for database in ("sqlite", "postgresql"):
        yield Target(
            f"first sync, {NAMES[database]}: a job past 100,000 against one before",
            1.25,
            further(results, database, "first"),
            is_floor=False,
        )


def further(results: Results, database: str, scenario: str) -> float | None:
    """What a job costs between the second and third size, against the first and second."""
    took = [
        results.seconds(entrant=OURS, database=database, scenario=scenario, jobs=size)
        for size in SIZES
    ]
    if took[0] is None or took[1] is None or took[2] is None:
        return None
    costs = [
        (took[place + 1] - took[place]) / (SIZES[place + 1] - SIZES[place])  # type: ignore[operator]
        for place in range(2)
    ]
    return ratio(costs[1], costs[0])


def _right(results: Results) -> Iterator[Target]:
    looked = [one for one in results.all if one.entrant == OURS]
    wrong = sum((one.wrong or 0) + (one.exit != 0) for one in looked)
    yield Target(
        "ftmirror: failed runs, and jobs stored wrong",
        0,
        wrong if looked else None,
        "",
        is_floor=False,
    )


def _worst(figures: Iterable[float | None]) -> float | None:
    return max((one for one in figures if one is not None), default=None)
