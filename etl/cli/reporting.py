"""`ftmirror report`: what training cost, as one page with pictures."""

from __future__ import annotations

import datetime as dt
import os
import sys
import tempfile
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from stat import S_IMODE
from typing import TYPE_CHECKING

import click

from etl.cli import database, output
from etl.cli.options import MOMENT, Context, command
from etl.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Engine

#: The word for stdout.
STDOUT = "-"
#: What the extra `report` brings.
_EXTRA = ("altair", "vl_convert")


@command(
    "report",
    example="""
    ftmirror report
    ftmirror report --since 2026-01-01 --output /srv/reports/2026.html
    """,
)
@click.option(
    "--output",
    "target",
    default="ftmirror-report.html",
    show_default=True,
    metavar="FILE",
    help="Where to put the page; - for stdout.",
)
@click.option(
    "--since",
    type=MOMENT,
    metavar="DATE",
    help="Jobs that ended since that day (2025-01-31, UTC), or so long ago (30d).",
)
@click.option("--until", type=MOMENT, metavar="DATE", help="Jobs that ended before that day.")
def report(
    context: Context, *, target: str, since: dt.datetime | None, until: dt.datetime | None
) -> None:
    """Write one page with pictures of it all.

    Spend by month and model, for whom, what went wrong, how trainings went, what has no price, and
    what was billed: one HTML file that loads nothing from anywhere. Only its owner may read it,
    unless the file is there already and others may.
    """
    from etl.db import prices
    from etl.spend.prices import load

    if since is not None and until is not None and since >= until:
        raise click.UsageError("--since must be before --until")
    path = None if target == STDOUT else _place(target)
    require_extra()
    book = load(context.settings.prices_file)
    with database.for_reading(context) as engine:
        prices.bring_or_warn(engine, book, "report")
        made = _made(engine, since, until)
    if path is None:
        output.flush()
        sys.stdout.buffer.write(made)
    else:
        _write(path, made)
        output.line(str(path))


def write_whole(engine: Engine, target: str) -> Path:
    """Write the report of all there is; the file's path. Raises UsageError where that fails."""
    path = _place(target)
    require_extra()
    _write(path, _made(engine, None, None))
    return path


def _made(engine: Engine, since: dt.datetime | None, until: dt.datetime | None) -> bytes:
    from etl.report.figures import Period
    from etl.report.page import page
    from etl.report.queries import read

    return page(read(engine, Period(since, until), dt.datetime.now(dt.UTC))).encode()


def require_extra() -> None:
    """Raise UsageError where what draws the charts is not installed."""
    try:
        for name in _EXTRA:
            import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in _EXTRA:
            raise
        raise UsageError(
            f"the report needs {error.name}, which draws its charts: pip install 'ftmirror[report]'"
        ) from None


def _place(target: str) -> Path:
    """The file that is to be written, through links; UsageError where there can be none."""
    try:
        path = Path(target).resolve()
        if path.is_dir():
            raise UsageError(f"--output {target}: that is a directory; name a file in it")
        if path.exists() and not path.is_file():
            raise UsageError(f"--output {target}: that is no file; write --output - for stdout")
        if not path.parent.is_dir():
            raise UsageError(f"--output {target}: there is no directory {path.parent}")
    except (OSError, RuntimeError, ValueError) as error:
        raise _unwritable(target, error) from None
    return path


def _write(path: Path, made: bytes) -> None:
    """Put the page there at once: who opens the file sees the old page or the new one."""
    name = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
        with open(handle, "wb") as file:  # noqa: PTH123 - a handle, no path
            file.write(made)
            with suppress(FileNotFoundError):
                os.fchmod(handle, S_IMODE(path.stat().st_mode))
        Path(name).replace(path)
    except BaseException as error:
        if name is not None:
            with suppress(OSError):
                Path(name).unlink()
        if isinstance(error, OSError):
            raise _unwritable(str(path), error) from None
        raise


def _unwritable(target: str, error: Exception) -> UsageError:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return UsageError(f"--output {target} cannot be written: {said}")
