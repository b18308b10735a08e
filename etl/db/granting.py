"""The right to look, given and taken back on a server, with what it says when it will not.

What is asked for stands in `etl.db.rights`; what is given is looked at afterwards, since PostgreSQL
only warns of a right that the one who asks may not give.
"""

from __future__ import annotations

import logging
from typing import Any

from sqlalchemy import Connection, TextClause, text
from sqlalchemy.exc import DBAPIError

from etl.db import rights, views
from etl.db.rights import Place
from etl.db.tables import lease_metadata, metadata
from etl.errors import StoreError, UsageError
from etl.resources import discover

log = logging.getLogger(__name__)

#: Databases that have users at all, and whose statements theirs are.
KINDS = {"postgresql": "postgresql", "mariadb": "mariadb", "mysql": "mariadb"}

#: What MariaDB and MySQL say of a user who is not there, and of a right that nobody gave.
_NO_SUCH_USER = (1133, 1410, 1959, 3523)
_NO_SUCH_RIGHT = (1141, 1147)
#: And of one who may not give it, in each of its spellings; the last is PostgreSQL's.
_MAY_NOT = (1044, 1045, 1142, 1143, 1227, 1370, "42501")


class NoSuchRole(UsageError):
    """The server knows no such role."""


class MayNotGrant(StoreError):
    """The user who asked may not give this right."""


def place(connection: Connection) -> Place:
    """Where this database's views are. Raises UsageError for SQLite, which has no roles."""
    kind = KINDS.get(connection.dialect.name)
    if kind is None:
        raise UsageError(
            "SQLite has no roles: who may read the file may read the mirror. Let others read it "
            "(chmod), and open it read-only, as file:ftmirror.db?mode=ro"
        )
    if kind == "mariadb":
        database, user = connection.execute(text("SELECT DATABASE(), CURRENT_USER()")).one()
        return Place(kind, database, database, user)
    found = connection.execute(
        text(
            "SELECT current_database(), n.nspname, current_user "
            "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.oid = to_regclass('leases')"
        )
    ).one()
    return Place(kind, *found)


def give(connection: Connection, at: Place, role: str) -> None:
    """Let a role read each view. Raises NoSuchRole, MayNotGrant."""
    if at.kind == "postgresql":
        _require_role(connection, role)
    # Most often all may come that far, and only an owner of the database may let more.
    needed = [*_missing_access(connection, at, role), *rights.sight(at, views.names())]
    for right in needed:
        _try(connection, at, role, rights.grant(at, role, right))
    if at.kind == "postgresql":
        # What a user may not grant is a warning there, where it may do something else.
        missing = _missing_access(connection, at, role) + _missing_sight(connection, at, role)
        if missing:
            raise _may_not(at, f"{role} lacks {missing[0]}")


def take(connection: Connection, at: Place, role: str) -> None:
    """Take the views back. The way to them stays: others may have given it, or count on it."""
    if at.kind == "postgresql" and not _is_role(connection, role):
        log.warning("there is no role %s any more; its line is removed", role)
        return
    for right in rights.sight(at, views.names()):
        _try(connection, at, role, rights.revoke(at, role, right), is_back=True)


def refuse_superuser(connection: Connection, at: Place, role: str) -> None:
    """Raise UsageError for a superuser of PostgreSQL, whom no right keeps from anything."""
    query = text("SELECT count(*) FROM pg_roles WHERE rolname = :r AND rolsuper")
    if at.kind == "postgresql" and _scalar(connection, query, r=role):
        raise UsageError(f"{role} is a superuser and may do anything; name a role that is none")


def settled(connection: Connection, at: Place, role: str) -> str:
    """A role by the one name that it is noted by: on MariaDB, `bi` and `bi@%` are one user.

    Where the one who asks may not read who is a role there, the server is asked by a right that is
    none: so this ends a transaction.
    """
    if not rights.is_bare(at.kind, role):
        return role
    user = rights.of_any_host(role)
    is_role = is_server_role(connection, role)
    if is_role is None:
        is_role = not _is_there(connection, at, user) and _is_there(connection, at, role)
    return role if is_role else user


def presumed(connection: Connection, at: Place, role: str) -> str:
    """`settled` as far as it is known without asking by a right; else as it was written."""
    is_user = rights.is_bare(at.kind, role) and is_server_role(connection, role) is False
    return rights.of_any_host(role) if is_user else role


def spellings(connection: Connection, at: Place, role: str) -> list[str]:
    """Every name by which this role may be noted."""
    bare = role.removesuffix("@%")
    if not rights.is_bare(at.kind, bare) or is_server_role(connection, bare):
        return [role]
    return [bare, rights.of_any_host(bare)]


def is_server_role(connection: Connection, name: str) -> bool | None:
    """Is this a role of MariaDB's, not a user? None where this user may not know."""
    if not getattr(connection.dialect, "is_mariadb", False):
        return False  # MySQL's roles have hosts as its users do
    query = text("SELECT count(*) FROM mysql.user WHERE User = :n AND is_role = 'Y'")
    try:
        return bool(_scalar(connection, query, n=name))
    except DBAPIError as error:
        if _said(Place("mariadb", "", "", ""), error)[0] in _MAY_NOT:
            return None
        raise


def _is_there(connection: Connection, at: Place, account: str) -> bool:
    try:
        _try(connection, at, account, rights.grant(at, account, rights.nothing(at)))
    except NoSuchRole:
        return False
    except MayNotGrant:
        return True  # as far as is known; what is granted next will say it
    return True


def _try(
    connection: Connection, at: Place, role: str, statement: str, *, is_back: bool = False
) -> None:
    try:
        # As written: a driver that looks for parameters would find them in a name with a %.
        connection.exec_driver_sql(statement, execution_options={"no_parameters": True})
    except DBAPIError as error:
        code, said = _said(at, error)
        if code in _NO_SUCH_RIGHT or (is_back and code in _NO_SUCH_USER):
            return
        if code in _NO_SUCH_USER:
            raise _no_such_role(at.kind, role) from None
        if code in _MAY_NOT:
            raise _may_not(at, said) from None
        raise


def _said(at: Place, error: DBAPIError) -> tuple[object, str]:
    """The server's code for an error, and its words in one line."""
    words = error.orig.args if error.orig else ("",)
    code = getattr(error.orig, "sqlstate", None) if at.kind == "postgresql" else words[0]
    return code, " ".join(str(words[-1]).split())


def _require_role(connection: Connection, role: str) -> None:
    if not _is_role(connection, role):
        raise _no_such_role("postgresql", role)


def _is_role(connection: Connection, role: str) -> bool:
    return bool(
        _scalar(connection, text("SELECT count(*) FROM pg_roles WHERE rolname = :r"), r=role)
    )


def _no_such_role(kind: str, role: str) -> NoSuchRole:
    name = rights.account(kind, role)
    how = {
        "postgresql": f"CREATE ROLE {name} LOGIN PASSWORD '...'",
        "mariadb": f"CREATE USER {name} IDENTIFIED BY '...'",
    }
    return NoSuchRole(
        f"the server has no role {role}. ftmirror makes no roles and sets no passwords; let its "
        f"administrator run: {how[kind]};"
    )


def _may_not(at: Place, said: str) -> MayNotGrant:
    if at.kind == "postgresql":
        takes = (
            "it takes the owner of the views, who ran `ftmirror db upgrade`, and for CONNECT and "
            "USAGE the owners of the database and the schema"
        )
    else:
        takes = (
            f"it takes SELECT on {at.named('*').replace('`*`', '*')} WITH GRANT OPTION, as whoever "
            "ran `ftmirror db upgrade` should have it"
        )
    return MayNotGrant(f"the user {at.user} may not grant or take this: {said}; {takes}")


def _missing_access(connection: Connection, at: Place, role: str) -> list[str]:
    if at.kind != "postgresql":
        return []
    found = connection.execute(
        text(
            "SELECT has_database_privilege(:role, current_database(), 'CONNECT'), "
            "has_schema_privilege(:role, :schema, 'USAGE')"
        ),
        {"role": role, "schema": at.schema},
    ).one()
    return [right for right, is_there in zip(rights.access(at), found, strict=True) if not is_there]


def _missing_sight(connection: Connection, at: Place, role: str) -> list[str]:
    readable = _allowed(connection, at, role, "SELECT")
    wanted = views.names()
    return [
        right
        for name, right in zip(wanted, rights.sight(at, wanted), strict=True)
        if name not in readable
    ]


def warn_of_more(connection: Connection, at: Place, role: str) -> None:
    """Say what else the role may do here, by other rights: a reader should do nothing else."""
    if at.kind != "postgresql":
        return  # where a user's rights are another's secret
    discover()
    ours = {*metadata.tables, *lease_metadata.tables}
    any_right = "SELECT, INSERT, UPDATE, DELETE, TRUNCATE"
    more = [
        f"use the table {name}" for name in sorted(ours & _allowed(connection, at, role, any_right))
    ]
    creates = text("SELECT has_schema_privilege(:role, :schema, 'CREATE')")
    if _scalar(connection, creates, role=role, schema=at.schema):
        more.append(f"make tables in the schema {at.schema}")
    if more:
        log.warning(
            "%s may do more than look, by rights that it has otherwise: %s%s",
            role,
            ", ".join(more[:3]),
            f" and {len(more) - 3} more" if len(more) > 3 else "",
        )


def _allowed(connection: Connection, at: Place, role: str, right: str) -> set[str]:
    """The tables and views of the schema on which a role has one of these rights."""
    found = connection.scalars(
        text(
            "SELECT relname FROM pg_class WHERE relnamespace = "
            "(SELECT oid FROM pg_namespace WHERE nspname = :schema) AND relkind IN ('r', 'v') "
            "AND has_table_privilege(:role, oid, :right)"
        ),
        {"schema": at.schema, "role": role, "right": right},
    )
    return set(found)


def _scalar(connection: Connection, query: TextClause, **values: str) -> Any:
    return connection.scalar(query, values)
