"""One engine for one database: the URL, what each database needs said, and its errors."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import unquote

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DataError,
    DBAPIError,
    IntegrityError,
    SQLAlchemyError,
    StatementError,
)

from etl.db.faults import Fault, fault_of
from etl.errors import ConfigError, StoreError, TransientStoreError
from etl.settings import mask_url

#: What people write, and the driver that this project ships for it.
DRIVERS = {
    "sqlite": "sqlite",
    "postgresql": "postgresql+psycopg",
    "postgres": "postgresql+psycopg",
    "mysql": "mysql+pymysql",
    "mariadb": "mariadb+pymysql",
}
#: The extra that brings a driver.
EXTRAS = {"postgresql": "postgres", "mysql": "mysql", "mariadb": "mysql"}
_PACKET_TOO_LARGE = 1153
_FILE_URL = re.compile(r"file:(?://(?:localhost)?(?=/))?")
#: Seconds that SQLite waits for another writer before it gives up.
BUSY_SECONDS = 10.0
#: Bytes. Larger pages waste less behind each payload. Ids come in no order, so that a batch meets
#: most pages of every index: a good part of them stays in the cache, and the log takes in some
#: batches before it is carried over, and is cut back to this after.
SQLITE_PAGE = 8 * 1024
SQLITE_CACHE = 16 * 1024 * 1024
SQLITE_WAL = 64 * 1024 * 1024


# It says at warning level what the error says anyway, when a connection is lost during a COPY.
logging.getLogger("psycopg").setLevel(logging.ERROR)


def _is_news(record: logging.LogRecord) -> bool:
    error = record.exc_info[1] if record.exc_info else None
    return error is None or isinstance(error, Exception)


# The pool logs whatever keeps it from closing a connection, with a traceback, and raises it again:
# of an interrupt or a signal that is once too often.
logging.getLogger("sqlalchemy.pool.impl.QueuePool").addFilter(_is_news)


class RowsRefused(StoreError):
    """The database will not take these rows, whatever the reason; other rows may be fine."""


def database_url(url: str) -> URL:
    """The URL with the driver spelled out. Raises ConfigError for one that cannot work."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):  # the second for a port that is no number
        said = "the database URL cannot be read; write it as postgresql://user@host:5432/name"
        raise ConfigError([said]) from None
    name = parsed.drivername.split("+")[0]
    known = DRIVERS.get(name)
    if known is None:
        raise ConfigError(
            [f"the database {parsed.drivername!r} is not known; known are: {', '.join(DRIVERS)}"]
        )
    if "@" in (parsed.host or ""):
        raise ConfigError(
            ["the database URL holds more than one @: write %40 for one in a password"]
        )
    if name != "sqlite" and not parsed.database:
        raise ConfigError([f"the database URL names no database: write {name}://user@host/name"])
    if parsed.drivername not in (name, known):
        said = f"the driver of {parsed.drivername}:// is not used here; write {name}://"
        raise ConfigError([said])
    for word in ("password", "passwd"):
        # Where SQLAlchemy looks for it, it also hides it.
        if name != "sqlite" and isinstance(value := parsed.query.get(word), str):
            parsed = parsed.set(password=value).difference_update_query([word])
    return parsed.set(drivername=known)


def sqlite_file(url: URL) -> Path | None:
    """The file of a SQLite URL; None for another database or one in memory."""
    if url.get_backend_name() != "sqlite":
        return None
    name = str(url.database or "")
    is_uri = str(url.query.get("uri")).lower() in ("1", "true", "yes", "on", "t", "y")
    if is_uri and name.startswith("file:"):  # SQLite's own kind of URL
        if url.query.get("mode") == "memory":
            return None
        name = unquote(_FILE_URL.sub("", name).partition("#")[0])
    return None if name in ("", ":memory:") else Path(name)


def shown(url: URL) -> str:
    """The URL as people may see it: without its password, wherever that stands."""
    return mask_url(url.render_as_string(hide_password=True))


def open_engine(url: str) -> Engine:
    """An engine for this URL, set up alike on every database. Nothing is connected yet.

    Raises ConfigError for an unknown database or a driver that is not installed.
    """
    parsed = database_url(url)
    name = parsed.get_backend_name()
    try:
        if name == "sqlite":
            return _sqlite(parsed)
        if name == "postgresql":
            return create_engine(parsed, pool_pre_ping=True, hide_parameters=True)
        return _mysql(parsed)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get(name, name)
        raise ConfigError(
            [f"{shown(parsed)} needs the driver {error.name}: pip install 'ftmirror[{extra}]'"]
        ) from error


# The driver looks for an adapter of every None and every bool, which takes it six times as long as
# to bind a number; once there is one, half of that is spared.
sqlite3.register_adapter(type(None), lambda none: none)
sqlite3.register_adapter(bool, int)


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, connect_args={"timeout": BUSY_SECONDS}, hide_parameters=True)
    path = sqlite_file(url)

    @event.listens_for(engine, "do_connect")
    def create_private(*_: Any) -> None:
        # Only its owner may read a new mirror; SQLite itself would leave that to the umask. What it
        # puts beside the file (-wal, -shm) gets the file's permissions.
        if path is not None and not path.exists() and path.parent.is_dir():
            # A link to a file that is not there yet is no reason to leave it open to all.
            with suppress(OSError, RuntimeError):
                file = path.resolve()
                os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
                file.chmod(0o600)  # a strict umask may have taken more than that

    @event.listens_for(engine, "connect")
    def set_up(connection: sqlite3.Connection, _: Any) -> None:
        # The driver would begin transactions late and never around DDL; `begin` below does it.
        connection.isolation_level = None
        connection.execute(f"PRAGMA page_size={SQLITE_PAGE}")  # of a new file only
        with suppress(sqlite3.OperationalError):  # a file that may only be read
            connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute(f"PRAGMA cache_size=-{SQLITE_CACHE // 1024}")
        connection.execute(f"PRAGMA wal_autocheckpoint={SQLITE_WAL // SQLITE_PAGE}")
        connection.execute(f"PRAGMA journal_size_limit={SQLITE_WAL}")

    @event.listens_for(engine, "invalidate")
    def undo(connection: sqlite3.Connection, *_: Any) -> None:
        # After an interrupt the connection is thrown away, but lives on, and its lock with it, as
        # long as the exception does: our own last words would meet it.
        connection.rollback()

    @event.listens_for(engine, "begin")
    def begin(connection: Any) -> None:
        # A reader that turns writer may find the file changed since, so a writer says so at once.
        writes = connection.get_execution_options().get("writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _mysql(url: URL) -> Engine:
    engine = create_engine(
        url.update_query_dict({"charset": "utf8mb4"}),
        pool_pre_ping=True,
        pool_recycle=3600,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _: Any) -> None:
        # Strict, whatever the server's default: a value that does not fit is never cut. And
        # `etl.db.bulk` writes values into statements, in which a backslash must escape.
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION time_zone='+00:00', sql_mode='TRADITIONAL'")

    return engine


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that will write."""
    with engine.execution_options(writes=True).begin() as connection:
        yield connection


@contextmanager
def database_errors() -> Iterator[None]:
    """Errors of SQLAlchemy and the drivers as our own, without statements, rows or causes.

    Raises RowsRefused where the rows themselves were the reason, TransientStoreError for what may
    pass, StoreError otherwise.
    """
    try:
        yield
    except (SQLAlchemyError, AssertionError) as error:
        # SQLAlchemy asserts that a commit came to its end, which an interrupt may keep it from.
        interrupt = _interrupt_before(error)
        if interrupt is not None:
            raise interrupt from None
        if isinstance(error, AssertionError):
            raise
        _translate(error)
    except (OverflowError, UnicodeEncodeError) as error:
        what = f"a value cannot be sent to the database: {type(error).__name__}"
        raise RowsRefused(what) from None


def _interrupt_before(error: BaseException) -> BaseException | None:
    """The interrupt that made a driver stumble, if that was the reason: it is never lost."""
    seen = {id(error)}
    before = error.__context__
    while before is not None and id(before) not in seen:
        if not isinstance(before, Exception):
            return before
        seen.add(id(before))
        before = before.__context__
    return None


def _translate(failure: SQLAlchemyError) -> NoReturn:
    try:
        raise failure
    except (DataError, IntegrityError) as error:
        raise RowsRefused(_said(error)) from None
    except DBAPIError as error:
        if _is_too_large(error):
            raise RowsRefused(_said(error)) from None
        fault = fault_of(error)
        if fault is None:
            raise StoreError(f"the database failed: {_said(error)}") from None
        if fault is Fault.DENIED:
            said = _said(error, of_server=True)
            what = f"this user of the database may not do that: {said}. {fault.value}"
            raise StoreError(what) from None
        kind = TransientStoreError if fault.may_pass else StoreError
        raise kind(f"{fault.value} ({_said(error)})") from None
    except StatementError as error:
        what = f"a value cannot be sent to the database: {type(error).__name__}"
        raise RowsRefused(what) from None
    except SQLAlchemyError as error:
        raise StoreError(f"the database failed: {type(error).__name__}") from error


def _is_too_large(error: DBAPIError) -> bool:
    """MariaDB calls a record over `max_allowed_packet` an error of operation, not of data."""
    return error.orig is not None and error.orig.args[:1] == (_PACKET_TOO_LARGE,)


def _said(error: DBAPIError, *, of_server: bool = False) -> str:
    """What the driver said, in one line; or the server alone, without PyMySQL's number."""
    said = error.orig.args[-1] if of_server and error.orig and error.orig.args else error.orig
    return " ".join(str(said).split())
