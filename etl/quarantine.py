"""Records in quarantine, read once more: a later version may understand them.

The same pipe as an import's: what a record says never moves the mirror back in time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Engine, Row

from etl.batch import Refusal, read
from etl.days import Bills, account
from etl.db import quarantine as stored
from etl.db.runs import Tally
from etl.db.store import utc_now
from etl.db.tables import quarantine
from etl.errors import UsageError
from etl.pipe import Chunk, Progress, RunResult, SourceResult, run
from etl.record import Origin, Record
from etl.resource import Resource

LISTS = ("list", "growing list")

#: Why a line cannot be read again from what it holds.
NO_RECORD = "no record came: sync asks for it again"
CUT = "too large to be kept whole: sync asks for it again"
IN_MIRROR = "the mirror holds it: `ftmirror replay` reads it again"
UNKNOWN_RESOURCE = "this version has no such resource"
UNKNOWN_PARENT = "nothing says what it belongs to: import it again with --job ID"
UNKNOWN_ORIGIN = "it was kept without its origin: sync asks for it again"


@dataclass(frozen=True)
class Order:
    """What is to be read once more."""

    resources: Mapping[str, Resource]
    #: Numbers of lines; none for all that are open.
    ids: Sequence[int] = ()
    #: Only of this resource.
    resource: str | None = None
    #: Where the records of the sources that there are come from, by the source's name.
    origins: Mapping[str, Origin] = field(default_factory=dict)
    #: Seconds to wait for another writer to end.
    wait: float = 0.0


@dataclass
class Retried:
    """What came of it."""

    result: RunResult
    #: How many lines are closed now.
    resolved: int = 0
    #: Those that stay, each with what its reason is now, and why it was not read again, if so.
    remaining: list[tuple[Row[Any], str | None]] = field(default_factory=list)


def open_lines(engine: Engine, order: Order) -> list[Row[Any]]:
    """The lines that are meant. Raises UsageError for a number that is no open line's."""
    where: list[ColumnElement[bool]] = [quarantine.c.resolved_at.is_(None)]
    if order.resource is not None:
        where.append(quarantine.c.resource == order.resource)
    found = stored.lines(engine, *where)
    if not order.ids:
        return found
    by_number = {line.id: line for line in found}
    for number in order.ids:
        if number not in by_number:
            raise UsageError(
                f"quarantine has no open line {number}; see `ftmirror quarantine list`"
            )
    return [by_number[number] for number in sorted(set(order.ids))]


def retry(
    engine: Engine,
    order: Order,
    progress: Progress,
    *,
    now: Callable[[], datetime] = utc_now,
) -> Retried:
    """Read open lines once more; those that became rows are closed.

    Raises UsageError for a number that is no open line's, LeaseHeld where another writer is at
    work, StoreError where the database fails.
    """
    meant = open_lines(engine, order)
    groups: dict[tuple[str, str], list[Row[Any]]] = {}
    for line in meant:
        if why_not(line, order) is None:
            groups.setdefault((line.resource, line.source), []).append(line)
    with run(engine, "retry", "quarantine retry", progress, now, wait=order.wait) as current:
        sources: dict[str, SourceResult] = {}
        for name, resource in order.resources.items():
            for (_, source), lines in (one for one in groups.items() if one[0][0] == name):
                if source not in sources:
                    sources[source] = SourceResult(source)
                    current.result.sources.append(sources[source])
                tally = Tally(source, name, now(), is_whole=False)
                sources[source].tallies.append(tally)
                chunks = _chunks(engine, order, resource, lines)
                current.feed(resource, chunks, tally, importing=True)
    numbers = {line.id for line in meant}
    is_open = quarantine.c.resolved_at.is_(None)
    left = [line for line in stored.lines(engine, is_open) if line.id in numbers]
    remaining = [(line, why_not(line, order)) for line in left]
    return Retried(current.result, len(meant) - len(left), remaining)


def why_not(line: Row[Any], order: Order) -> str | None:
    """Why a line cannot be read again from what it holds; None where it can."""
    resource = order.resources.get(line.resource)
    if resource is None:
        return UNKNOWN_RESOURCE
    if line.mode == "replay":
        return IN_MIRROR
    if line.is_whole is False:
        return NO_RECORD if line.id_space is None else CUT
    if _origin(line, order) is None or (line.is_whole is None and resource.parents is not None):
        return UNKNOWN_ORIGIN
    is_of_list = resource.parents is not None and resource.parents.reads in LISTS
    return UNKNOWN_PARENT if is_of_list and line.parent_id is None else None


def _chunks(
    engine: Engine, order: Order, resource: Resource, lines: Iterable[Row[Any]]
) -> Iterator[Chunk]:
    for line in lines:
        origin = _origin(line, order)
        if origin is not None:
            text = stored.text_of(engine, line)
            whose = account(engine, resource, origin)
            item = _item(line, text, resource, origin, whose)
            if resource.days is not None:
                item = Bills(engine, resource, origin).placed(item)
            yield Chunk([item], retried=[line.digest])


def _item(
    line: Row[Any], text: bytes, resource: Resource, origin: Origin, whose: str
) -> Record | Refusal:
    parent_id, position, observed_at = line.parent_id, line.position, line.observed_at
    if resource.parents is not None and resource.parents.reads == "content":
        name = line.record_id
        return Record(resource.name, name, text, origin, parent_id, position, observed_at)
    given = resource, text, origin, observed_at
    found = read(*given, parent_id=parent_id, position=position, account=whose)
    # One that says no id was kept under the one that was asked for.
    return replace(found, record_id=line.record_id) if isinstance(found, Refusal) else found


def _origin(line: Row[Any], order: Order) -> Origin | None:
    if line.id_space is None:
        return order.origins.get(line.source)
    return Origin(line.source, line.provider, line.id_space, line.project_id)
