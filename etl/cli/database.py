"""Which database a command works on, and whether it is fit for it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from etl.cli.options import Context
from etl.errors import LeaseHeld, LeaseLost, StoreError, UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

log = logging.getLogger(__name__)


def at(url: str) -> Engine:
    """The database of a URL; nothing is connected yet.

    Raises ConfigError for a URL that cannot work, UsageError for a SQLite file whose directory is
    not there.
    """
    from etl.db.engine import open_engine, sqlite_file

    engine = open_engine(url)
    path = sqlite_file(engine.url)
    if path is None and engine.dialect.name == "sqlite":
        raise UsageError("a SQLite database in memory is gone with the command; name a file")
    if path is not None and not path.parent.is_dir():
        raise UsageError(f"{path}: there is no directory {path.parent}")
    return engine


@contextmanager
def opened(context: Context) -> Iterator[Engine]:
    """The database of the settings, whatever its schema. Raises what `at` does."""
    from etl.db.engine import shown

    engine = at(context.settings.database_url)
    try:
        yield engine
    except StoreError as error:
        if isinstance(error, (LeaseHeld, LeaseLost)):
            raise
        where = shown(engine.url)
        raise StoreError(str(error) if where in str(error) else f"{error} ({where})") from None
    finally:
        engine.dispose()


def refuse_strangers(engine: Engine) -> None:
    """Raise UsageError for a SQLite file that holds somebody else's tables, and none of ours."""
    from etl.db import migrate

    found = migrate.strangers(engine)
    if found:
        raise UsageError(
            f"{engine.url.database} is no mirror: it holds other tables ({', '.join(found[:3])}"
            f"{', …' if len(found) > 3 else ''}). Name another file."
        )


@contextmanager
def for_writing(
    context: Context, *, wait: float = 0.0, is_copying: bool = False
) -> Iterator[Engine]:
    """The database at this version's schema: SQLite is migrated, a server only where asked for.

    `wait`: seconds for another writer to end, before a migration begins. `is_copying`: also one
    that is being copied into.

    Raises SchemaOutOfDate for a server database that waits for `ftmirror db upgrade`.
    """
    from etl.db import copies, lease, migrate

    with opened(context) as engine:
        may_upgrade = engine.dialect.name == "sqlite" or context.settings.auto_upgrade
        if engine.dialect.name == "sqlite":
            refuse_strangers(engine)
        if may_upgrade and migrate.is_due(engine) and migrate.upgrade(engine, wait=wait):
            log.info("the database was brought to schema %s", migrate.head())
        migrate.require_current(engine)
        left_out = [] if may_upgrade else migrate.left_out(engine)
        if left_out:
            log.warning("%s. Run `ftmirror db upgrade`.", ", ".join(left_out))
        lease.ensure(engine)
        if not is_copying:
            copies.require_whole(engine)
        yield engine


@contextmanager
def for_reading(context: Context) -> Iterator[Engine]:
    """A mirror that is there, at this version's schema. Makes no file."""
    from etl.db import copies, migrate

    with opened(context) as engine:
        require_there(engine)
        migrate.require_current(engine)
        if copies.unfinished(engine):
            log.warning("%s; what follows is a part", copies.NOT_WHOLE)
        yield engine


def require_there(engine: Engine) -> None:
    """Raise UsageError for a SQLite file that is not there."""
    from etl.db.engine import sqlite_file

    path = sqlite_file(engine.url)
    if path is not None and not path.exists():
        raise UsageError(f"there is no mirror at {path} yet; `ftmirror sync` makes one")


@contextmanager
def for_rehearsal(context: Context) -> Iterator[Engine | None]:
    """A mirror to compare with, or None where there is none yet. Makes and changes nothing."""
    from etl.db import migrate
    from etl.db.engine import sqlite_file

    with opened(context) as engine:
        path = sqlite_file(engine.url)
        if (path is not None and not path.exists()) or migrate.current(engine) is None:
            yield None
        else:
            migrate.require_current(engine)
            yield engine
