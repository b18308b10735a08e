"""`ftmirror copy`, and `import` of a ledger export: the whole mirror somewhere else."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from etl.cli import database, output, progress
from etl.cli.options import WAIT, Context, command
from etl.errors import UsageError
from etl.settings import database_problem, passwords, variable

if TYPE_CHECKING:
    from etl.moving.copying import Moved

log = logging.getLogger(__name__)

DONE, PARTIAL, FOUND_SOMETHING = 0, 3, 5


@command(
    "copy",
    example="""
    ftmirror copy --to postgresql://mirror@db/ftmirror
    ftmirror copy --to-env NEW_DATABASE_URL --wait 15m
    ftmirror copy --as-it-stands --database-url sqlite:///cut.db
    """,
)
@click.option("--to", "to_url", metavar="URL", help="The database to copy into; without password.")
@click.option(
    "--to-env", metavar="NAME", help="The variable that holds its URL, where that has a password."
)
@click.option(
    "--as-it-stands",
    is_flag=True,
    help="Instead: make a mirror of your database, a cut copy whose original is gone.",
)
@WAIT
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
def copy(
    context: Context,
    *,
    to_url: str | None,
    to_env: str | None,
    as_it_stands: bool,
    wait: float,
    as_json: bool,
) -> int:
    """Carry the whole mirror into another database.

    The ledger with its history, the typed tables, and how far each list was read, so that `sync`
    goes on there. A copy that was cut goes on with the same command. At the end both are read back
    and compared. Exit code 0: equal. 5: not equal, with the tables' names. 4: another run is at
    work. 3: a mirror as it stands, with the names of the tables that may lack rows.
    """
    from etl.moving.copying import copy as carry

    if as_it_stands:
        return _declare(context, is_alone=to_url is to_env is None, wait=wait, as_json=as_json)
    url = _destination(context, to_url, to_env)
    engine = database.at(context.settings.database_url)
    to = database.at(url)
    database.require_there(engine)
    try:
        with _resumable("copy"), progress.counted(context, "copy") as step:
            moved = carry(engine, to, step, wait=wait)
    finally:
        engine.dispose()
        to.dispose()
    return _answer(moved, as_json=as_json)


def _declare(context: Context, *, is_alone: bool, wait: float, as_json: bool) -> int:
    """`ftmirror copy --as-it-stands`; its exit code."""
    from etl.moving import copying

    if not is_alone:
        raise UsageError("--as-it-stands is of the database of your settings: leave --to out")
    with database.opened(context) as engine:
        database.require_there(engine)
        with progress.counted(context, "copy") as step:
            moved = copying.as_it_stands(engine, step, wait=wait)
    return _answer(moved, as_json=as_json)


def take(context: Context, directory: Path, *, wait: float, as_json: bool) -> int:
    """`ftmirror import` of a directory; its exit code."""
    from etl.moving import taking

    taking.Export(directory)  # a wrong directory leaves no database behind
    with (
        database.for_writing(context, wait=wait, is_copying=True) as engine,
        _resumable("import"),
        progress.counted(context, "import") as step,
    ):
        moved = taking.take(engine, directory, step, wait=wait)
    return _answer(moved, as_json=as_json)


@contextmanager
def _resumable(what: str) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        log.warning("the %s was cut; the same command goes on from there", what)
        raise


def _destination(context: Context, url: str | None, name: str | None) -> str:
    """The URL to copy into. Raises UsageError, which never quotes it."""
    if (url is None) == (name is None):
        raise UsageError("name the database to copy into: with --to URL, or with --to-env NAME")
    said = url
    if name is not None:
        said = variable(name, os.environ, Path.cwd())
    place = "--to" if name is None else f"--to-env: the variable {name}"
    if not said:
        raise UsageError(f"{place} is not set, or empty")
    context.mask.ask(lambda: passwords(said))
    if name is None and any(passwords(said)):
        raise UsageError(
            "--to holds a password, which every user of this machine can see while it runs. Put "
            "the URL into a variable, and name that: --to-env NAME"
        )
    problem = database_problem(said)
    if problem:
        raise UsageError(f"{place} {problem}")
    return said


def _answer(moved: Moved, *, as_json: bool) -> int:
    if as_json:
        output.json(moved.as_json())
    else:
        _tell(moved)
    if moved.is_part:
        return PARTIAL
    return FOUND_SOMETHING if moved.different else DONE


def _tell(moved: Moved) -> None:
    if moved.is_empty and not moved.different:
        output.data("nothing to copy: the mirror is empty")
        return
    known = {name: ("no" if name in moved.different else "yes",) for name in moved.tables}
    output.table(
        ["table", "rows", *(["known to be whole"] if moved.is_part else [])],
        [
            (name, f"{one.rows:,}", *(known[name] if moved.is_part else ()))
            for name, one in moved.tables.items()
        ],
        right=["rows"],
    )
    before = ", with an earlier copy that was gone on with" if moved.went_on else ""
    if moved.is_part:
        said = (
            "a mirror from now on, as it stands. `ftmirror sync --mode full` lists again "
            "what the API still has"
        )
    elif moved.different:
        said = (
            f"not equal: {', '.join(moved.different)}. Somebody else wrote there meanwhile? The "
            "same command brings these tables in step."
        )
    else:
        said = f"{moved.rows:,} rows in {moved.seconds:.1f} s{before}; read back, both are equal"
    output.data("\n".join(output.wrapped(said)))
