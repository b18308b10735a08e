"""`ftmirror db grant-reader` and `revoke-reader`: who may look at the views."""

from __future__ import annotations

import click

from etl.cli import database, output
from etl.cli.options import WAIT, Context, command

SQL = click.option(
    "--sql", is_flag=True, help="Print the SQL for somebody else to run; touch nothing."
)


@command("grant-reader", example="ftmirror db grant-reader bi\nftmirror db grant-reader bi --sql")
@click.argument("role")
@SQL
@WAIT
def grant_reader(context: Context, *, role: str, sql: bool, wait: float) -> None:
    """Let a role read the views, and nothing else.

    The role must be there (PostgreSQL, MariaDB, MySQL); `db upgrade` lets it read the views that
    it makes anew.
    """
    from etl.db import migrate, readers, views

    with database.for_reading(context) as engine:
        if sql:
            _print(readers.statements(engine, role, migrate.head()))
            return
        granted = readers.grant(engine, role, migrate.head(), wait=wait)
    output.line(f"{granted} may read the {len(views.names())} views; other rights of its stay")


@command("revoke-reader", example="ftmirror db revoke-reader bi")
@click.argument("role")
@SQL
@WAIT
def revoke_reader(context: Context, *, role: str, sql: bool, wait: float) -> None:
    """Take the views back that `grant-reader` let a role read.

    CONNECT and USAGE (PostgreSQL) stay: the role may have had them before.
    """
    from etl.db import readers

    with database.for_reading(context) as engine:
        if sql:
            _print(readers.statements_back(engine, role))
            return
        revoked = readers.revoke(engine, role, wait=wait)
        is_postgresql = engine.dialect.name == "postgresql"
    output.line(f"{revoked} is no reader any more")
    if is_postgresql:
        output.line("CONNECT and USAGE stay; docs/roles.md says how to take them back by hand")


def _print(statements: list[str]) -> None:
    output.data("\n".join(f"{one};" for one in statements))
