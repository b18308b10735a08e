"""A whole mirror carried from one place into a database, found equal there, or said where not."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Engine, select

from etl.db import copies, lease, migrate
from etl.db.again import read
from etl.db.engine import writing
from etl.db.lease import Lease
from etl.db.tables import leases
from etl.errors import UsageError
from etl.moving.destination import Destination, refuse_foreign
from etl.moving.reading import Mirror, Original, Progress, identity
from etl.moving.telling import telling
from etl.moving.values import BOOK, Sum, shapes
from etl.moving.walking import walk

log = logging.getLogger(__name__)

#: What the state of a database is told by: the number of the lease under which it was read.
_LEASE = "lease "


@dataclass
class Moved:
    """What became of a copy."""

    #: Rows and digest of each table, as the destination has them now.
    tables: dict[str, Sum] = field(default_factory=dict)
    #: Tables that are not as in the original; with `is_part`, not known to be.
    different: list[str] = field(default_factory=list)
    #: Did it go on with an earlier copy?
    went_on: bool = False
    #: Was a cut copy declared a mirror as it stands?
    is_part: bool = False
    seconds: float = 0.0

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(one.rows for one in self.tables.values())

    @property
    def is_empty(self) -> bool:
        """Was there nothing but a price book?"""
        return not any(one.rows for name, one in self.tables.items() if name not in BOOK)

    @property
    def _status(self) -> str:
        if self.is_part:
            return "partial"
        return "different" if self.different else "success"

    def as_json(self) -> dict[str, Any]:
        """For scripts."""
        return {
            "status": self._status,
            "went_on": self.went_on,
            "rows": self.rows,
            "seconds": round(self.seconds, 3),
            "tables": [
                {"name": name, "rows": one.rows, "digest": one.digest}
                for name, one in self.tables.items()
            ],
            "different": self.different,
        }


class _Leased(Mirror):
    """A mirror that nobody else writes to, as the number of its lease will tell later."""

    def __init__(self, engine: Engine, held: Lease) -> None:
        super().__init__(engine)
        self._held = held
        self.identity = identity(self)
        self.state = f"{_LEASE}{held.token}"

    def is_as(self, state: str) -> bool:
        """Every writer takes the lease: if this is the next one, there was none between."""
        return state == f"{_LEASE}{self._held.token - 1}"


def copy(engine: Engine, to: Engine, progress: Progress, *, wait: float = 0.0) -> Moved:
    """Carry a mirror into another database, under the leases of both.

    The destination is brought to this version's schema. A copy that was cut goes on where it
    stood; where the original changed since, each table is held against it from its first row.
    Raises UsageError for a destination that is the same database or holds another mirror,
    LeaseHeld, StoreError; SchemaOutOfDate for an original of an older schema, UsageError for one
    that is a cut copy itself.
    """
    with telling(engine):
        migrate.require_current(engine)
        copies.require_whole(engine)
        lease.ensure(engine)
    with telling(engine), lease.hold(engine, "copy", wait=wait) as held:
        with telling(to):
            _refuse_same(engine, to)
        original = _Leased(engine, held)
        with telling(to):
            prepare(to, original.identity, wait=wait)
        return receive(to, original, "copy", progress, wait=wait, last=lambda: _fence(engine, held))


def as_it_stands(engine: Engine, progress: Progress, *, wait: float = 0.0) -> Moved:
    """Declare a copy that was cut a mirror, with what came of it, as its original is gone.

    Which tables are not known to be whole is said before anything is written. If the original comes
    back before a run here, `copy` goes on.
    Raises UsageError for a mirror that is no cut copy, SchemaOutOfDate, LeaseHeld, StoreError.
    """
    began = time.monotonic()
    with telling(engine):
        migrate.require_current(engine)
        lease.ensure(engine)
    with telling(engine), lease.hold(engine, "copy", wait=wait) as held:
        if not copies.unfinished(engine):
            raise UsageError("this mirror is no copy that was cut: it is used as it is")
        destination = Destination(engine, held)
        unsure = copies.unsure(destination.places(), [one.name for one in shapes()])
        log.warning("not known to be whole: %s", ", ".join(unsure))
        found = Moved(different=unsure, is_part=True)
        found.tables = destination.sums(_named(progress, "reading the copy"))
        destination.finish(is_whole=True)
    found.seconds = time.monotonic() - began
    return found


def prepare(engine: Engine, identity: str, *, wait: float) -> None:
    """Bring a destination to this version's schema, for a copy of the mirror of that identity.

    Raises UsageError, with nothing changed there, for one that holds another mirror, and for a
    SQLite file that is somebody else's.
    """
    strangers = migrate.strangers(engine) if engine.dialect.name == "sqlite" else []
    if strangers:
        raise UsageError(
            f"the destination is no mirror: it holds other tables ({', '.join(strangers[:3])}"
            f"{', …' if len(strangers) > 3 else ''}). Name another file"
        )
    refuse_foreign(engine, identity)
    if migrate.is_due(engine) and migrate.upgrade(engine, command="copy", wait=wait):
        log.info("the destination was brought to schema %s", migrate.head())
    migrate.require_current(engine)
    lease.ensure(engine)


def receive(
    engine: Engine,
    original: Original,
    command: str,
    progress: Progress,
    *,
    wait: float = 0.0,
    last: Callable[[], None] = lambda: None,
) -> Moved:
    """Take a whole mirror into a database at this version's schema, under its lease.

    `last`: called when all was read, before anything is believed; raises where the original may
    have changed meanwhile.
    """
    began = time.monotonic()
    found = Moved()
    with telling(engine), lease.hold(engine, command, wait=wait) as held:
        destination = Destination(engine, held)
        found.went_on = destination.admit(original)
        places = destination.places()
        for shape in shapes():
            walk(original, destination, shape, places[shape.name], progress)
        wanted = original.sums(_named(progress, "checking the original"))
        found.tables = destination.sums(_named(progress, "checking the copy"))
        last()
        found.different = [name for name in wanted if wanted[name] != found.tables[name]]
        destination.finish(is_whole=not found.different)
    found.seconds = time.monotonic() - began
    return found


def _named(progress: Progress, what: str) -> Progress:
    return lambda table, rows, of: progress(f"{what}, {table}", rows, of)


def _fence(engine: Engine, held: Lease) -> None:
    with telling(engine), writing(engine) as connection:
        held.fence(connection)


def _refuse_same(engine: Engine, to: Engine) -> None:
    """Both have the line of the lease that this process just took: then they are one database."""
    if migrate.current(to) is None:
        return

    def holder(connection: Connection) -> Any:
        return connection.execute(select(leases)).mappings().one_or_none()

    mine, there = read(engine, holder), read(to, holder)
    names = ("token", "host", "machine", "pid", "command", "acquired_at")
    if there is not None and all(mine[name] == there[name] for name in names):
        raise UsageError("the destination is the database that is to be copied; name another")
