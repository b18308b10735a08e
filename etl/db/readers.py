"""Who may look: the right to read the views and nothing else, given, taken back and kept.

A migration drops the views and makes them again, and on PostgreSQL the right to a view goes with
it. So each role that was given it has a line in `reader_roles`, and `etl.db.migrate` gives it again
on the views that it made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from sqlalchemy import Connection, Engine, delete, insert, inspect, select, update

from etl.db import granting, lease, rights, views
from etl.db.engine import database_errors, writing
from etl.db.granting import MayNotGrant, NoSuchRole
from etl.db.rights import Place
from etl.db.tables import reader_roles
from etl.errors import UsageError

log = logging.getLogger(__name__)


def statements(engine: Engine, role: str, revision: str) -> list[str]:
    """What `grant` would do, as SQL for somebody else to run; nothing is changed."""
    at, role = _asked(engine, role)
    with database_errors(), engine.connect() as connection:
        granting.refuse_superuser(connection, at, role)
        role = granting.presumed(connection, at, role)
    first = [rights.NO_NEW_USERS] if getattr(engine.dialect, "is_mariadb", False) else []
    given = [*rights.access(at), *rights.sight(at, views.names())]
    noted = rights.noted(at, role, revision)
    return [*first, *(rights.grant(at, role, one) for one in given), noted]


def statements_back(engine: Engine, role: str) -> list[str]:
    """What `revoke` would do, as SQL for somebody else to run; nothing is changed."""
    at, role = _asked(engine, role)
    with database_errors(), engine.connect() as connection:
        names = granting.spellings(connection, at, role)
    taken = rights.sight(at, views.names())
    return [
        *(rights.forgotten(at, name) for name in names),
        *(rights.revoke(at, role, one) for one in taken),
    ]


def grant(engine: Engine, role: str, revision: str, *, wait: float = 0.0) -> str:
    """Let a role read each view, under the lease, and note it; the role as it is noted.

    Raises NoSuchRole, UsageError for a name that is none, a superuser or SQLite, MayNotGrant,
    LeaseHeld.
    """
    _, role = _asked(engine, role)
    with (
        lease.hold(engine, "db grant-reader", wait=wait) as held,
        database_errors(),
        writing(engine) as connection,
    ):
        held.fence(connection)
        create_table(connection)
        at = granting.place(connection)
        if at.kind == "postgresql" and at.user == role:
            raise UsageError(
                f"{role} is the user that asks, and owns the mirror; name the role that BI uses"
            )
        granting.refuse_superuser(connection, at, role)
        role = granting.settled(connection, at, role)
        granting.give(connection, at, role)
        lines = [role, *_lines_of(connection, at, role)]
        held.fence(connection)  # MariaDB ended the transaction with the first grant
        connection.execute(delete(reader_roles).where(reader_roles.c.role.in_(lines)))
        now = lease.database_now(connection.dialect.name)
        connection.execute(
            insert(reader_roles).values(role=role, granted_at=now, revision=revision)
        )
        granting.warn_of_more(connection, at, role)
    return role


def revoke(engine: Engine, role: str, *, wait: float = 0.0) -> str:
    """Take the views back, under the lease; the role as it was noted.

    CONNECT and USAGE stay on PostgreSQL: `grant` may have found them there. Raises UsageError for a
    role that was given nothing, MayNotGrant, LeaseHeld.
    """
    _, role = _asked(engine, role)
    with (
        lease.hold(engine, "db revoke-reader", wait=wait) as held,
        database_errors(),
        writing(engine) as connection,
    ):
        held.fence(connection)
        at = granting.place(connection)
        role = granting.settled(connection, at, role)
        lines = _lines_of(connection, at, role)
        if not lines:
            known = ", ".join(sorted(_granted(connection)))
            raise UsageError(f"{role} was not made a reader here; readers are: {known or 'none'}")
        granting.take(connection, at, role)
        held.fence(connection)  # MariaDB ended the transaction with the first right
        connection.execute(delete(reader_roles).where(reader_roles.c.role.in_(lines)))
    return role


def create_table(connection: Connection) -> None:
    """Make `reader_roles` where it is not there yet."""
    reader_roles.create(connection, checkfirst=True)


def drop_empty_table(connection: Connection) -> None:
    """Drop `reader_roles` unless it names somebody: for a downgrade that leaves nothing."""
    if _has_table(connection) and not _granted(connection):
        reader_roles.drop(connection)


def begin_anew(connection: Connection) -> None:
    """Note that the views are about to go, before they do."""
    if _granted(connection):
        connection.execute(update(reader_roles).values(revision=None))


def waiting(connection: Connection, revision: str) -> list[str]:
    """Roles whose right to this schema's views was not given again yet."""
    if connection.dialect.name not in granting.KINDS or not _has_table(connection):
        return []
    return sorted(role for role, seen in _granted(connection).items() if seen != revision)


def grant_again(connection: Connection, fence: Callable[[Connection], None], revision: str) -> bool:
    """Let each role that is waiting read the views that are there now; was one of them let?

    A role that is no longer there is said, and forgotten. One that this user may not grant
    anything to is said, and waits.
    """
    is_any = False
    for role in waiting(connection, revision):
        line = reader_roles.c.role == role
        at = granting.place(connection)
        name = granting.settled(connection, at, role)
        try:
            with _alone(connection):
                granting.give(connection, at, name)
        except NoSuchRole:
            log.warning("the role %s is gone; it is no reader of this mirror any more", role)
            fence(connection)
            connection.execute(delete(reader_roles).where(line))
        except MayNotGrant as error:
            log.warning(
                "%s may not read all views yet: %s. `ftmirror db grant-reader %s --sql` prints "
                "what to run",
                role,
                error,
                role,
            )
        else:
            is_any = True
            fence(connection)
            if name != role and name in _granted(connection):  # another line of the same user
                connection.execute(delete(reader_roles).where(line))
                line = reader_roles.c.role == name
            connection.execute(
                update(reader_roles).where(line).values(role=name, revision=revision)
            )
    return is_any


def _asked(engine: Engine, role: str) -> tuple[Place, str]:
    with database_errors(), engine.connect() as connection:
        at = granting.place(connection)
    return at, rights.role_of(at.kind, role)


def _lines_of(connection: Connection, at: Place, role: str) -> list[str]:
    """The noted names that mean this role, which is settled: a user's may be without its host."""
    return [one for one in _granted(connection) if granting.settled(connection, at, one) == role]


def _has_table(connection: Connection) -> bool:
    return inspect(connection).has_table(reader_roles.name)


def _granted(connection: Connection) -> dict[str, str | None]:
    if not _has_table(connection):
        return {}
    found = connection.execute(select(reader_roles.c.role, reader_roles.c.revision))
    return {line.role: line.revision for line in found}


def _alone(connection: Connection) -> AbstractContextManager[object]:
    """Where the whole upgrade is one transaction, a right that is refused must not end it."""
    return connection.begin_nested() if connection.dialect.name == "postgresql" else nullcontext()
