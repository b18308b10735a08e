"""A tool: migrations that end after any of their statements, as when somebody pulls the plug."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event, inspect

#: How statements begin that change something; the first ones are for good on MariaDB.
SCHEMA = ("CREATE", "DROP", "ALTER")
CHANGES = (*SCHEMA, "INSERT", "UPDATE", "DELETE")
#: Those of the lease are not the migration's.
NOT_COUNTED = ("UPDATE leases", "INSERT INTO leases", "CREATE TABLE leases")


class Cut(Exception):
    """The plug was pulled."""


@contextmanager
def cut_after(
    engine: Engine, steps: int, counted: tuple[str, ...] = CHANGES
) -> Iterator[list[str]]:
    """Let the database take so many steps and no more; the steps it took.

    What raises Cut beyond them is swallowed: the caller goes on as the next process would.
    """
    taken: list[str] = []

    def count(_: Any, __: Any, statement: str, *___: Any) -> None:
        words = " ".join(statement.split())
        if words.startswith(NOT_COUNTED) or not words.startswith(CHANGES):
            return
        if len(taken) == steps:
            raise Cut
        if words.startswith(counted):
            taken.append(words)

    event.listen(engine, "before_cursor_execute", count)
    try:
        yield taken
    except Cut:
        pass
    finally:
        event.remove(engine, "before_cursor_execute", count)


def cut_everywhere(
    engine: Engine, move: Callable[[], object], is_there: Callable[[], bool]
) -> list[str]:
    """Cut a migration after each step that is for good, until it is there; these steps.

    So it begins in every state that a cut can leave.
    """
    taken: list[str] = []
    while not is_there():
        with cut_after(engine, 1, SCHEMA) as step:
            move()
        taken += step
    return taken


def tables(engine: Engine) -> set[str]:
    """The names of all tables that are there."""
    return set(inspect(engine).get_table_names())


def seen(engine: Engine) -> set[str]:
    """The names of all views that are there."""
    return set(inspect(engine).get_view_names())
