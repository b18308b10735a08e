"""`ftmirror export`: the mirror as files that other programs load."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from etl.cli import database, output, progress
from etl.cli.options import MOMENT, Context, command
from etl.cli.output import wrapped
from etl.cli.spend_table import REASONS

log = logging.getLogger(__name__)

#: Why a job has no row in FOCUS, in words behind a number of jobs, beside what `spend` says.
_REASONS = {"open": "still open", "nothing_used": "that used nothing"}


@command(
    "export",
    example="""
    ftmirror export --format parquet lake/
    ftmirror export --format csv --table jobs:id,status,model out/
    ftmirror export --format focus --since 2026-01-01 focus/
    """,
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["parquet", "delta", "csv", "jsonl", "focus", "focus-parquet", "ledger"]),
    required=True,
    help="parquet: parted by month. delta: the same as Delta tables. focus: FOCUS 1.2 rows of "
    "training spend, as CSV or Parquet. ledger: everything, for `ftmirror import`.",
)
@click.option(
    "--table",
    "tables",
    multiple=True,
    metavar="T[:COLUMN,…]",
    help="A table or view, or some of its columns. Repeatable. Default: every view, what was "
    "mirrored, and the prices.",
)
@click.option(
    "--since",
    type=MOMENT,
    metavar="DATE",
    help="Rows from that day on (2025-01-31, UTC), or so long back (30d), by the table's time, "
    "else by when its job was created. Sums are always whole.",
)
@click.option(
    "--raw-text",
    is_flag=True,
    help="CSV: leave text as it is. Without it, what a spreadsheet would run as a formula has an "
    "apostrophe before it.",
)
@click.option("--json", "as_json", is_flag=True, help="Answer with the manifest, one JSON object.")
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
def export(
    context: Context,
    *,
    form: str,
    tables: Sequence[str],
    since: dt.datetime | None,
    raw_text: bool,
    as_json: bool,
    directory: Path,
) -> None:
    """Write files that others load.

    All of one moment, and DIR appears when all is written. A former export of the same format and
    no other tables is replaced, a ledger never. Only its owner may read it, unless it was there
    already and others may.
    """
    from etl.db import prices
    from etl.export import exporting
    from etl.moving import files
    from etl.spend.prices import load

    if raw_text and form not in ("csv", "focus"):
        raise click.UsageError("--raw-text goes with --format csv or focus")
    if form == "ledger" and (tables or since is not None):
        raise click.UsageError("--format ledger is whole; leave --table and --since out")
    book = load(context.settings.prices_file)
    wanted = exporting.Wanted(form, tables, since, raw_text)
    with (
        database.for_reading(context) as engine,
        progress.counted(context, "export") as step,
    ):
        prices.bring_or_warn(engine, book, "export")
        if form == "ledger":
            manifest = files.write(engine, directory, progress=step)
        else:
            manifest = exporting.export(engine, directory, wanted, step=step)
    if as_json:
        output.json(manifest)
    else:
        _show(manifest, directory)
    _tell(manifest)


def _show(manifest: Mapping[str, Any], directory: Path) -> None:
    numbers = ["rows", "files", "bytes"]
    lines = [
        [one["name"], f"{one['rows']:,}", f"{len(one['files']):,}", f"{one['bytes']:,}"]
        for one in manifest["tables"]
    ]
    output.table(["table", *numbers], lines, right=numbers)
    output.data("")
    output.data("\n".join(wrapped(f"{directory}: {manifest['format']}, with a manifest.json")))


def _tell(manifest: Mapping[str, Any]) -> None:
    """What the files do not say."""
    from etl.moving.values import BOOK

    left_out = manifest.get("left_out_jobs")
    if left_out:
        said = {**REASONS, **_REASONS}
        words = [f"{count:,} {said.get(why, why)}" for why, count in left_out.items()]
        log.warning(
            "%s jobs have no row, as there is no cost to state: %s; the view unpriced_jobs names "
            "those whose cost is unknown",
            f"{sum(left_out.values()):,}",
            ", ".join(words),
        )
    if not any(one["rows"] for one in manifest["tables"] if one["name"] not in BOOK):
        what = "since then" if manifest["since"] else "yet; `ftmirror sync` brings it"
        log.warning("there is nothing to export %s: the files hold no rows", what)
