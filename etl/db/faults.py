"""What a database's error means: will it pass, and what can a person do?

Each database has its own numbers for the same few things; one table a database.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from enum import Enum

from sqlalchemy.exc import DBAPIError


class Fault(Enum):
    """Why a statement failed, other than for the rows it was to write; with what to do."""

    LOST = "the connection to the database was lost; is the server up, and the network?"
    LOCKED = (
        "another program holds the database locked; wait for it to end, or end it, and run this "
        "again"
    )
    CONFLICT = "another program kept changing the same rows (deadlock); run this again"
    FULL = "the database's disk is full; make room there, and run this again"
    READ_ONLY = (
        "the database may only be read; name one that may be written to (a primary, no replica), "
        "or give the right to write"
    )
    BUSY = "the database takes no more connections; close some, or allow more"
    DENIED = (
        "Run it as the user that runs `ftmirror sync`, and `ftmirror db` as the owner of the "
        "tables (docs/roles.md says what each needs)"
    )
    DAMAGED = "this is no SQLite file, or a damaged one; restore it from a copy, or name another"

    @property
    def may_pass(self) -> bool:
        """Is another try of the whole transaction worth it?"""
        return self in (Fault.LOST, Fault.LOCKED, Fault.CONFLICT, Fault.BUSY)


def fault_of(error: DBAPIError) -> Fault | None:
    """What went wrong; None for what is no such thing (a wrong statement, a refused login)."""
    known = error.orig
    found = None
    if known is not None:
        read = _READERS.get(type(known).__module__.split(".")[0])
        found = read(known) if read else None
    return found or (Fault.LOST if error.connection_invalidated else None)


def dependents_of(error: DBAPIError) -> str | None:
    """What still needs a thing that was to be dropped, in the server's words; None otherwise.

    PostgreSQL alone asks. Its hint, CASCADE, would drop what is somebody else's.
    """
    known = error.orig
    if getattr(known, "sqlstate", None) != _STILL_NEEDED:
        return None
    detail = getattr(getattr(known, "diag", None), "message_detail", None)
    return "; ".join((detail or "the server does not say what").splitlines())


#: The primary result codes of SQLite; an extended one has more above its lowest byte.
_SQLITE = {
    sqlite3.SQLITE_BUSY: Fault.LOCKED,
    sqlite3.SQLITE_LOCKED: Fault.LOCKED,
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_READONLY: Fault.READ_ONLY,
    sqlite3.SQLITE_CORRUPT: Fault.DAMAGED,
    sqlite3.SQLITE_NOTADB: Fault.DAMAGED,
}

#: SQLSTATEs of PostgreSQL, whole or by their class.
_POSTGRESQL = {
    "40001": Fault.CONFLICT,
    "40P01": Fault.CONFLICT,
    "55P03": Fault.LOCKED,
    "08": Fault.LOST,
    "57P01": Fault.LOST,
    "57P02": Fault.LOST,
    "57P03": Fault.LOST,
    "57P05": Fault.LOST,
    "53100": Fault.FULL,
    "53300": Fault.BUSY,
    "25006": Fault.READ_ONLY,
    "42501": Fault.DENIED,
}

_STILL_NEEDED = "2BP01"

_POSTGRESQL_BUSY = ("starting up", "shutting down", "recovery", "too many clients", "slots are")

#: Error numbers of MariaDB and MySQL, and of their client.
_MYSQL = {
    0: Fault.LOST,  # what PyMySQL says of a connection that it has closed
    1020: Fault.CONFLICT,
    1021: Fault.FULL,
    1040: Fault.BUSY,
    1044: Fault.DENIED,
    1053: Fault.LOST,
    1114: Fault.FULL,
    1142: Fault.DENIED,
    1143: Fault.DENIED,
    1205: Fault.LOCKED,
    1213: Fault.CONFLICT,
    1290: Fault.READ_ONLY,
    1792: Fault.READ_ONLY,
    1836: Fault.READ_ONLY,
    1927: Fault.LOST,
    2002: Fault.LOST,
    2003: Fault.LOST,
    2006: Fault.LOST,
    2013: Fault.LOST,
    2055: Fault.LOST,
}


def _of_sqlite(error: BaseException) -> Fault | None:
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else _SQLITE.get(code & 0xFF)


def _of_postgresql(error: BaseException) -> Fault | None:
    state = getattr(error, "sqlstate", None)
    if state is None:
        if type(error).__name__ != "OperationalError":
            return None
        # A connection that broke, or could not be made. What the server itself said then has no
        # number, and lasts as a rule: a wrong password, no such database.
        said = str(error)
        if "FATAL" in said and not any(word in said for word in _POSTGRESQL_BUSY):
            return None
        return Fault.LOST
    return _POSTGRESQL.get(state) or _POSTGRESQL.get(state[:2])


def _of_mysql(error: BaseException) -> Fault | None:
    number = error.args[0] if error.args else None
    return _MYSQL.get(number) if isinstance(number, int) else None


_READERS: dict[str, Callable[[BaseException], Fault | None]] = {
    "sqlite3": _of_sqlite,
    "psycopg": _of_postgresql,
    "pymysql": _of_mysql,
}
