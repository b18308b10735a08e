"""One writer a database: the lease that every writing command takes.

A lease carries a token that grows with every holder. The first statement of every writing
transaction renews the lease under the token (`Lease.fence`); where that changes no row, somebody
else holds it, and the transaction ends before it wrote anything. Between transactions a beat
renews it, on a connection of its own, so that a slow page does not look like a dead process.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Row, insert, inspect, literal_column, select, update
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.sql.elements import ColumnElement

from etl.db.again import MOST_TRIES, again
from etl.db.engine import RowsRefused, database_errors, writing
from etl.db.tables import leases
from etl.db.types import UtcDateTime
from etl.errors import LeaseHeld, LeaseLost, StoreError

log = logging.getLogger(__name__)

NAME = "writer"
#: Seconds between two beats, and without a beat until a holder counts as dead.
BEAT = 5.0
EXPIRES = 30.0
#: Seconds after which somebody who waits for the lease looks again.
LOOK_AGAIN = 0.5
#: How often somebody who finds the lease free and taken at the same moment looks who took it.
MOST_RACES = 5

#: The database's own clock in UTC: hosts may disagree about the time, one database does not.
_CLOCK = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%f', 'now')",
    "postgresql": "(clock_timestamp() AT TIME ZONE 'UTC')",
    "mysql": "UTC_TIMESTAMP(6)",
    "mariadb": "UTC_TIMESTAMP(6)",
}


def database_now(dialect: str) -> ColumnElement[datetime]:
    """The database's clock, as an expression in UTC."""
    return literal_column(_CLOCK[dialect], UtcDateTime())


class _Raced(LeaseHeld):
    """Somebody took or renewed the lease between our look at it and our grasp."""


class Lease:
    """A lease that this process holds."""

    def __init__(self, engine: Engine, token: int) -> None:
        self._engine = engine
        self.token = token
        self.is_lost = False

    def fence(self, connection: Connection) -> None:
        """Renew the lease as the first statement of a transaction. Raises LeaseLost."""
        if not self._renew(connection):
            self.is_lost = True
            raise LeaseLost

    def _renew(self, connection: Connection) -> bool:
        renewed = connection.execute(
            update(leases)
            .where(
                leases.c.name == NAME,
                leases.c.token == self.token,
                leases.c.released_at.is_(None),
            )
            .values(renewed_at=database_now(connection.dialect.name), beats=leases.c.beats + 1)
        )
        return renewed.rowcount == 1

    def beat(self) -> None:
        """Renew the lease between transactions; skipped while our own batch locks the database."""
        try:
            with self._engine.connect() as connection, _impatient(connection):
                if not self._renew(connection):
                    self.is_lost = True
                connection.commit()
        except SQLAlchemyError as error:
            log.debug("a beat of the lease was skipped: %s", getattr(error, "orig", error))

    def release(self) -> None:
        """Give the lease back; one that was lost is no longer ours to give."""
        with self._engine.begin() as connection:
            connection.execute(
                update(leases)
                .where(leases.c.name == NAME, leases.c.token == self.token)
                .values(released_at=database_now(connection.dialect.name))
            )


@contextmanager
def _impatient(connection: Connection) -> Iterator[None]:
    """Let SQLite fail at once where it would wait; afterwards the connection is thrown away."""
    if connection.dialect.name != "sqlite":
        yield
        return
    connection.exec_driver_sql("PRAGMA busy_timeout=0")
    try:
        yield
    finally:
        connection.invalidate()  # so that nobody else gets one that does not wait


def ensure(engine: Engine) -> None:
    """Make the table of leases where it is not there yet. Raises StoreError."""
    with database_errors():
        if inspect(engine).has_table(leases.name):
            return
        try:
            with writing(engine) as connection:
                leases.create(connection, checkfirst=True)
        except DBAPIError:
            # Another process may have made it at the same moment.
            if not inspect(engine).has_table(leases.name):
                raise


@contextmanager
def hold(
    engine: Engine,
    command: str,
    *,
    wait: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Lease]:
    """Take the lease for the length of a block, with a beat of its own.

    Raises LeaseHeld where somebody holds it, and still does after so many seconds of waiting; the
    table must be there (`ensure`).
    """
    lease = _take_in_time(engine, command, clock() + wait, sleep, clock)
    stop = threading.Event()
    beat = threading.Thread(target=_beats, args=(lease.beat, stop), name="lease", daemon=True)
    beat.start()
    tries = MOST_TRIES
    try:
        yield lease
    except StoreError:
        tries = 1  # the database was tried long enough
        raise
    finally:
        stop.set()
        beat.join()
        if not lease.is_lost:
            _give_back(lease, sleep, tries)


def _take_in_time(
    engine: Engine,
    command: str,
    until: float,
    sleep: Callable[[float], None],
    clock: Callable[[], float],
) -> Lease:
    told = ""
    races = 0
    while True:
        try:
            with database_errors():
                return _take(engine, command)
        except (RowsRefused, _Raced):
            # Somebody was first, with the first line of all or after a look; but who?
            races += 1
            if races > MOST_RACES:
                raise
            continue
        except LeaseHeld as error:
            left = until - clock()
            if left <= 0:
                raise
            if error.holder != told:
                log.info("waiting for %s", error.holder)
                told = error.holder
        sleep(min(LOOK_AGAIN, left))


def _give_back(lease: Lease, sleep: Callable[[float], None], tries: int) -> None:
    """Release the lease; where the database is gone, it falls by itself, and the work is done."""

    def release() -> None:
        with database_errors():
            lease.release()

    try:
        again(release, sleep=sleep, tries=tries)
    except StoreError as error:
        log.warning(
            "the lease could not be given back; it falls when this process has ended, elsewhere "
            "after %.0f s: %s",
            EXPIRES,
            error,
        )


def _beats(beat: Callable[[], None], stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        beat()


def _take(engine: Engine, command: str) -> Lease:
    """Swap the token for the next one, if nobody living holds it."""
    # Looked at before writing: SQLite has one writer, and a migration there is one transaction.
    with engine.connect() as connection:
        line = _look(connection)
    if line is not None and not _is_free(line):
        raise LeaseHeld(_busy(_who(line)), holder=_who(line))
    with writing(engine) as connection:
        now = database_now(engine.dialect.name)
        line = _look(connection)
        token = 1 if line is None else line.token + 1
        holder: dict[str, Any] = {
            "token": token,
            "host": socket.gethostname()[:255],
            "machine": _machine(),
            "pid": os.getpid(),
            "command": command[:64],
            "acquired_at": now,
            "renewed_at": now,
            "beats": 0,
            "released_at": None,
        }
        if line is None:
            connection.execute(insert(leases).values(name=NAME, **holder))
            return Lease(engine, token)
        if not _is_free(line):
            raise LeaseHeld(_busy(_who(line)), holder=_who(line))
        swapped = connection.execute(
            update(leases)
            .where(
                leases.c.name == NAME,
                leases.c.token == line.token,
                # A holder whose long transaction ended while we waited for it is alive.
                leases.c.beats == line.beats,
            )
            .values(holder)
        )
        if swapped.rowcount != 1:
            raise _Raced(_busy(_who(line)), holder=_who(line))
        return Lease(engine, token)


def _look(connection: Connection) -> Row[Any] | None:
    """The line of the lease, and the database's time."""
    now = database_now(connection.dialect.name)
    query = select(leases, now.label("now")).where(leases.c.name == NAME)
    return connection.execute(query).one_or_none()


def _is_free(line: Row[Any]) -> bool:
    if line.released_at is not None:
        return True
    if line.now - line.renewed_at > timedelta(seconds=EXPIRES):
        return True
    return bool(line.machine) and line.machine == _machine() and not _is_alive(line.pid)


def _machine() -> str:
    """What tells whether a process id means anything here: this boot, and this set of processes.

    Hosts' names do not: containers and cloned machines share them. Empty where nobody knows.
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _who(line: Row[Any]) -> str:
    since = line.acquired_at.strftime("%Y-%m-%d %H:%M:%S UTC")
    return f"`ftmirror {line.command}` on {line.host}, pid {line.pid}, since {since}"


def _busy(holder: str) -> str:
    return f"another writer is at work on this database: {holder}"
