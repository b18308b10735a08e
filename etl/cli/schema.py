"""`ftmirror schema`: tables, views and columns explained."""

from __future__ import annotations

from collections.abc import Sequence

import click

from etl.cli import output
from etl.cli.options import Context, command
from etl.errors import UsageError


@command(
    "schema",
    example="ftmirror schema --table job_costs\nftmirror schema --format mermaid > schema.mmd",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["md", "json", "mermaid", "dbml"]),
    default="md",
    show_default=True,
    help="Markdown, JSON, or a diagram's text.",
)
@click.option(
    "--table", "names", multiple=True, metavar="NAME", help="Only this table or view. Repeatable."
)
def schema(_context: Context, *, form: str, names: Sequence[str]) -> None:
    """Explain tables, views and columns.

    Needs no database: it says what this version's has. A diagram of all tables shows keys only,
    one of some tables every column.
    """
    from etl import dictionary
    from etl.dictionary import dbml, markdown, mermaid

    found = dictionary.build()
    if names:
        found = found.only(names)
    if form == "mermaid" and not found.tables:
        raise UsageError(f"a diagram shows tables, and views only are named: {', '.join(names)}")
    if form == "json":
        output.json(dictionary.as_json(found))
    elif form == "mermaid":
        output.data(mermaid.render(found, only_keys=not names))
    elif form == "dbml":
        output.data(dbml.render(found))
    else:
        output.data(markdown.sections(found) if names else markdown.render(found))
