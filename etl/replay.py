"""Replay: the typed tables made anew from the ledger, without a word to the API.

A batch of records is read and its rows are replaced in one transaction, together with the place
where the replay stands: one that is cut goes on from there.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table

import etl
from etl.db import migrate, replaying
from etl.db.replaying import Place
from etl.db.store import utc_now
from etl.pipe import Progress, Run, RunResult, run
from etl.rebuilding import Rebuilding
from etl.resource import Resource
from etl.resources import discover
from etl.spend.prices import Book

#: What reads a record, beside the resources: another text of these makes other rows.
_READERS = ("fields.py", "jsontext.py", "record.py", "resource.py", "resources", "spend")


@dataclass
class Replayed:
    """How a replay fared."""

    run: RunResult
    #: Of each resource that goes on where an earlier replay was cut: how many records that did.
    resumed: dict[str, int] = field(default_factory=dict)
    #: Resources that the earlier replay brought to their end.
    done_before: list[str] = field(default_factory=list)
    #: Rows that belonged to no record, by table: removed.
    strays: dict[str, int] = field(default_factory=dict)
    #: Kinds of drift, by resource.
    drift: dict[str, int] = field(default_factory=dict)
    #: Superseded states that this version cannot read, by resource: their drift is not counted.
    unread_versions: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """As of a sync, and what only a replay has."""
        return {
            **self.run.as_json(),
            "resumed": self.resumed,
            "done_before": self.done_before,
            "strays": self.strays,
            "drift": self.drift,
            "unread_versions": self.unread_versions,
        }


def replay(
    engine: Engine,
    resources: Sequence[Resource],
    progress: Progress,
    *,
    anew: bool = False,
    now: Callable[[], datetime] = utc_now,
    wait: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
    book: Book | None = None,
) -> Replayed:
    """Make the rows of these resources anew from the ledger, and their drift.

    Goes on where a replay of this same program was cut, unless `anew`. A record that cannot be read
    any more keeps the rows it has, goes to quarantine and makes the run partial.
    `wait`: seconds for another writer to end. `sleep`: for the waits before the database is tried
    again. `book`: the prices that the mirror is to have; None leaves it those it has.

    Raises LeaseHeld where another writer is at work, StoreError where the database fails, EtlError
    for a mistake in a resource.
    """
    with run(
        engine, "replay", "replay", progress, now, wait=wait, sleep=sleep, book=book
    ) as current:
        answer = Replayed(current.result)
        places = _begin(current, tuple(one.name for one in resources), anew=anew)
        for resource in resources:
            place = places.get(resource.name)
            if place is None:
                answer.done_before.append(resource.name)
                continue
            if place.last_id:
                answer.resumed[resource.name] = place.records
            rebuilding = Rebuilding(current, resource, place)
            rebuilding.run()
            for table, owner in _owners(resource).items():
                strays = partial(replaying.remove_strays, resource, table, owner)
                _remove(current, answer, table, strays)
            rebuilding.finish()
            answer.drift[resource.name] = len(rebuilding.seen)
            if rebuilding.unread_versions:
                answer.unread_versions[resource.name] = rebuilding.unread_versions
        for table, owners in _shared(resources).items():
            _remove(current, answer, table, partial(replaying.remove_unmarked, table, owners))
    return answer


def version() -> str:
    """What makes rows of records: this program, this schema, and the text of all that reads one."""
    root = Path(etl.__file__).parent
    whole = hashlib.sha256()
    for name in _READERS:
        here = root / name
        for path in sorted(here.rglob("*.py")) if here.is_dir() else [here]:
            if path.is_file():
                whole.update(f"{path.relative_to(root)}\n".encode() + path.read_bytes() + b"\0")
    return f"{etl.__version__} {migrate.head()} {whole.hexdigest()[:32]}"


def to_do(found: Mapping[str, Place], asked: tuple[str, ...], new: Place) -> dict[str, Place]:
    """Where to begin with each resource that is not done yet, by its name.

    `found`: replays that were cut. Where one was asked for just the same, what it has no place for
    any more is done.
    """
    usable = {
        name: replace(found[name], asked=asked)
        for name in asked
        if name in found and found[name].version == new.version
    }
    goes_on = bool(usable) and all(found[name].asked == asked for name in usable)
    begun = {name: one for name, one in usable.items() if one.last_id}
    return {
        name: begun.get(name) or replace(new, resource=name)
        for name in asked
        if name in found or not goes_on
    }


def _begin(current: Run, asked: tuple[str, ...], *, anew: bool) -> dict[str, Place]:
    store = current.store
    new = Place("", version(), store.run_id, store.now(), asked)
    places: dict[str, Place] = {}

    def write(connection: Connection) -> None:
        nonlocal places
        found = {} if anew else replaying.places(connection)
        places = to_do(found, asked, new)
        for one in places.values():
            replaying.save(connection, one)

    store.again(write)
    return places


def _owners(resource: Resource) -> dict[Table, str]:
    """A resource's tables, each with the column that names the record a row belongs to."""
    main = {} if resource.table is None else {resource.table: "id"}
    return {**main, **resource.owned}


def _shared(resources: Sequence[Resource]) -> dict[Table, list[Resource]]:
    """Tables in which several own rows, all of whom are replayed."""
    replayed = {one.name: one for one in resources}
    owners: dict[Table, list[str]] = {}
    for one in discover().values():
        for table in one.marks:
            owners.setdefault(table, []).append(one.name)
    return {
        table: [replayed[name] for name in names]
        for table, names in owners.items()
        if replayed.keys() >= set(names)
    }


#: Removes some rows after an owner; the last owner, None where there are no more, and how many.
_Step = Callable[[Connection, str], tuple[str | None, int]]


def _remove(current: Run, answer: Replayed, table: Table, step: _Step) -> None:
    """Remove rows that belong to no record, some owners a transaction."""
    after: str | None = ""
    while after is not None:
        after, gone = _some(current, step, after)
        if gone:
            answer.strays[table.name] = answer.strays.get(table.name, 0) + gone


def _some(current: Run, step: _Step, after: str) -> tuple[str | None, int]:
    found: tuple[str | None, int] = None, 0

    def write(connection: Connection) -> None:
        nonlocal found
        found = step(connection, after)

    current.store.again(write)
    return found
