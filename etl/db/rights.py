"""The right to look, as SQL: statements made of a database's kind, a schema, a role and the views.

Nothing here is connected to anything. Names come from people, so each is quoted, and those that no
quotes make harmless are refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from etl.errors import UsageError

#: What the servers cut or refuse: PostgreSQL counts bytes, MariaDB characters, and `reader_roles`
#: holds so many.
_LONGEST = {"postgresql": 63, "mariadb": 128}
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
#: Words that mean everybody or nobody, with quotes around them too.
_NOT_A_ROLE = ("public", "none")


@dataclass(frozen=True)
class Place:
    """Where the views are."""

    #: `postgresql` or `mariadb`; MySQL's statements are MariaDB's.
    kind: str
    #: As the server calls it.
    database: str
    #: PostgreSQL's; elsewhere the database's name again.
    schema: str
    #: Who asks, for messages.
    user: str

    def named(self, table: str) -> str:
        """A table or view with the schema it is in, quoted."""
        return f"{_quoted(self.kind, self.schema)}.{_quoted(self.kind, table)}"


def role_of(kind: str, text: str) -> str:
    """A role as it is kept and shown: what was written, without quotes around its parts.

    On MariaDB that is a role, or a user with or without its host. Raises UsageError for a name
    that no role can have, or that stands for everybody.
    """
    role = text if kind == "postgresql" else "@".join(map(_bare, _parts(text)))
    if not role or (kind == "mariadb" and "" in _parts(role)):
        raise UsageError(f"{text!r} is no role: its name, or its host, is empty")
    if _UNPRINTABLE.search(role):
        raise UsageError(f"the role {role!r}: control characters and backslashes are not taken")
    length = len(role.encode()) if kind == "postgresql" else len(role)
    if length > _LONGEST[kind]:
        unit = "bytes" if kind == "postgresql" else "characters"
        raise UsageError(f"the role's name has {length} {unit}; {_LONGEST[kind]} are the most")
    if role.lower() in _NOT_A_ROLE:
        raise UsageError(f"{role} is no role but a word of SQL, for all roles or for no role")
    return role


def is_bare(kind: str, role: str) -> bool:
    """Is this MariaDB's name of a role, or of a user whose host was left out?"""
    return kind == "mariadb" and len(_parts(role)) == 1


def of_any_host(role: str) -> str:
    """A user of MariaDB with the host that it means where none is given.

    Raises UsageError where that is too long.
    """
    return role_of("mariadb", f"{role}@%")


def account(kind: str, role: str) -> str:
    """A role as it stands in a statement."""
    parts = [role] if kind == "postgresql" else _parts(role)
    return "@".join(_quoted(kind, part) for part in parts)


def access(place: Place) -> list[str]:
    """Rights that bring a role as far as the views: two on PostgreSQL, none elsewhere."""
    if place.kind != "postgresql":
        return []
    return [
        f"CONNECT ON DATABASE {_quoted(place.kind, place.database)}",
        f"USAGE ON SCHEMA {_quoted(place.kind, place.schema)}",
    ]


def sight(place: Place, views: Iterable[str]) -> list[str]:
    """Rights to read each of these views."""
    return [f"SELECT ON {place.named(view)}" for view in views]


def grant(place: Place, role: str, right: str) -> str:
    """The statement that gives a role a right."""
    return f"GRANT {right} TO {account(place.kind, role)}"


def revoke(place: Place, role: str, right: str) -> str:
    """The statement that takes it back."""
    return f"REVOKE {right} FROM {account(place.kind, role)}"


def nothing(place: Place) -> str:
    """No right at all, of MariaDB: who is given it has to be there, and gets nothing."""
    name = place.schema.replace("_", r"\_").replace("%", r"\%")  # a pattern, there only
    return f"USAGE ON {_quoted(place.kind, name)}.*"


def noted(place: Place, role: str, revision: str) -> str:
    """What notes the role, for `db upgrade` to grant the views again once it has made them anew."""
    values = f"({_literal(role)}, {_NOW[place.kind]}, {_literal(revision)})"
    return (
        f"INSERT INTO {place.named('reader_roles')} (role, granted_at, revision) "
        f"VALUES {values} {_AGAIN[place.kind]}"
    )


def forgotten(place: Place, role: str) -> str:
    """What takes back `noted`."""
    return f"DELETE FROM {place.named('reader_roles')} WHERE role = {_literal(role)}"


#: MariaDB in a mode of long ago would make a user who is not there, without a password.
NO_NEW_USERS = "SET SESSION sql_mode = CONCAT(@@sql_mode, ',NO_AUTO_CREATE_USER')"

_NOW = {"postgresql": "(clock_timestamp() AT TIME ZONE 'UTC')", "mariadb": "UTC_TIMESTAMP(6)"}
_AGAIN = {
    "postgresql": "ON CONFLICT (role) DO UPDATE SET revision = excluded.revision",
    "mariadb": "ON DUPLICATE KEY UPDATE revision = VALUES(revision)",
}
_QUOTES = {"postgresql": '"', "mariadb": "`"}


def _quoted(kind: str, name: str) -> str:
    quote = _QUOTES[kind]
    return f"{quote}{name.replace(quote, quote * 2)}{quote}"


def _literal(text: str) -> str:
    doubled = text.replace("'", "''")
    return f"'{doubled}'"


def _parts(role: str) -> list[str]:
    """A user and its host, which follows the last @; or a bare name."""
    user, at, host = role.rpartition("@")
    return [user, host] if at else [role]


def _bare(part: str) -> str:
    is_quoted = len(part) > 1 and part[0] == part[-1] and part[0] in "'\"`"
    return part[1:-1] if is_quoted else part
