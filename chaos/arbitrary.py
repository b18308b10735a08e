"""Anything at all in place of a record, a page or a file: nothing raised, no neighbour lost."""

from __future__ import annotations

import logging
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings

from chaos.databases import Database, opened
from etl.db import migrate
from tests.arbitrary import Kind, kinds

#: Of 100 cases so many are of this kind; the rest is shared by all others.
SHARES = {"jobs": 30, "jobs in a file": 20}


@dataclass
class Found:
    """What came of the cases on one database."""

    #: Cases that were run, and the arbitrary records in them.
    cases: int = 0
    records: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    #: Kinds of which a case raised something, or lost a neighbour; with the smallest such case.
    tracebacks: int = 0
    lost: int = 0
    failures: list[str] = field(default_factory=list)


def cases(
    database: Database, directory: Path, number: int, count: int, say: Callable[[str], None]
) -> Found:
    """So many cases in all; the same ones for the same seed `number`."""
    found = Found()
    url = database.empty()
    with opened(url) as engine, _quiet():
        migrate.upgrade(engine)
        with kinds(engine, directory) as known:
            rest = (100 - sum(SHARES.values())) / (len(known) - len(SHARES))
            for kind in known:
                share = ceil(count * SHARES.get(kind.name, rest) / 100)
                _try(kind, share, number, found)
                say(f"{database.name}: {found.cases:,} arbitrary cases, {kind.name} done")
    database.drop(url)
    return found


def _try(kind: Kind, count: int, number: int, found: Found) -> None:
    bounds = settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )

    def run(drawn: Any) -> None:
        found.cases += 1
        found.by_kind[kind.name] += 1
        found.records += kind.size(drawn)
        kind.run(drawn)

    try:
        seed(number)(bounds(given(kind.drawn)(run)))()
    except AssertionError as error:
        found.lost += 1
        found.failures.append(_told(kind, error))
    except Exception as error:  # noqa: BLE001 - whatever comes out of a run is looked for
        found.tracebacks += 1
        found.failures.append(_told(kind, error))


def _told(kind: Kind, error: Exception) -> str:
    lines = traceback.format_exception(error)
    notes = "\n".join(getattr(error, "__notes__", ()))
    return f"{kind.name}: {''.join(lines)[-2500:]}{notes}"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without thousands of warnings that nobody reads."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)
