"""`ftmirror db`: the schema."""

from __future__ import annotations

import click

from etl.cli import database, output
from etl.cli.group import LazyGroup
from etl.cli.options import WAIT, Context, command, epilog
from etl.errors import UsageError

FOUND_SOMETHING = 5


@click.group(
    "db",
    cls=LazyGroup,
    lazy={
        "upgrade": ("etl.cli.db:upgrade", "Bring the schema to this version's."),
        "current": ("etl.cli.db:current", "Show the database's schema revision."),
        "history": ("etl.cli.db:history", "List every schema revision."),
        "check": ("etl.cli.db:check", "Compare the database with what is declared."),
        "downgrade": ("etl.cli.db:downgrade", "Go back to an older schema."),
        "grant-reader": (
            "etl.cli.granting:grant_reader",
            "Let a role read the views, and nothing else.",
        ),
        "revoke-reader": (
            "etl.cli.granting:revoke_reader",
            "Take the views back that `grant-reader` let a role read.",
        ),
    },
    epilog=epilog("ftmirror db upgrade --database-url postgresql://ftmirror@db/ftmirror"),
)
def db() -> None:
    """Look at the schema, and move it."""


@command("upgrade", example="ftmirror db upgrade")
@click.option("--sql", is_flag=True, help="Print the SQL of the whole schema; touch nothing.")
@WAIT
def upgrade(context: Context, *, sql: bool, wait: float) -> None:
    """Bring the schema to this version's.

    And the table of prices into step with the price book.
    """
    from etl.db import migrate, prices
    from etl.spend.prices import load

    if sql:
        output.data(migrate.sql(context.settings.database_url).lstrip())
        return
    book = load(context.settings.prices_file)
    with database.opened(context) as engine:
        moved = migrate.upgrade(engine, wait=wait)
        prices.bring_under_lease(engine, book, "db upgrade", wait=wait)
    output.data(f"schema {migrate.head()}" + ("" if moved else ": nothing to do"))


@command("current", example="ftmirror db current")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
def current(context: Context, *, as_json: bool) -> None:
    """Show the database's schema revision."""
    from etl.db import migrate
    from etl.db.engine import sqlite_file

    with database.opened(context) as engine:
        path = sqlite_file(engine.url)
        found = None if path is not None and not path.exists() else migrate.current(engine)
    if as_json:
        output.json({"current": found, "head": migrate.head()})
    else:
        note = "" if found == migrate.head() else f" (this version's is {migrate.head()})"
        output.data(f"{found or 'no schema yet'}{note}")


@command("history", example="ftmirror db history")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON array.")
def history(_context: Context, *, as_json: bool) -> None:
    """List every schema revision."""
    from etl.db import migrate

    found = migrate.history()
    if as_json:
        output.json([{"revision": revision, "description": what} for revision, what in found])
    else:
        output.table(["revision", "description"], found)


@command("check", example="ftmirror db check")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
def check(context: Context, *, as_json: bool) -> int:
    """Compare the database with what is declared.

    Exit code 5 where the tables or views differ from this version's.
    """
    from etl.db import migrate

    with database.for_reading(context) as engine:
        found = migrate.differences(engine)
    if as_json:
        output.json({"differences": found})
    else:
        output.data("\n".join(found) if found else "the tables are as this version declares them")
    return FOUND_SOMETHING if found else 0


@command("downgrade", example="ftmirror db downgrade 0001")
@click.argument("revision", metavar="REV")
@click.option(
    "--sql", is_flag=True, help="Print the SQL from this version's schema; touch nothing."
)
@click.option("--yes", is_flag=True, help="Do so although the mirror holds records.")
@WAIT
def downgrade(context: Context, *, revision: str, sql: bool, yes: bool, wait: float) -> None:
    """Go back to an older schema.

    `base` goes back to none. What only newer tables hold is lost.
    """
    from etl.db import migrate
    from etl.db.engine import sqlite_file

    if sql:
        output.data(migrate.sql(context.settings.database_url, down_to=revision))
        return
    with database.opened(context) as engine:
        path = sqlite_file(engine.url)
        if path is not None and not path.exists():
            raise UsageError(f"there is no mirror at {path}")
        held = migrate.holds_records(engine)
        if held and not yes:
            raise UsageError(
                f"the mirror holds {held:,} records, and what only newer tables hold is lost for "
                "good; add --yes to go on"
            )
        migrate.downgrade(engine, revision, wait=wait)
    output.data(f"schema {revision}")
