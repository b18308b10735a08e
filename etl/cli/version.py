"""`ftmirror version`."""

from __future__ import annotations

import click

import etl
from etl.cli import output
from etl.cli.options import Context, command

#: Whose versions matter when something goes wrong.
_LIBRARIES = (
    "sqlalchemy",
    "alembic",
    "click",
    "msgspec",
    "requests",
    "rich",
    "tenacity",
    "psycopg",
    "pymysql",
)


@command("version", example="ftmirror version --json")
@click.option("--json", "as_json", is_flag=True, help="With Python's and the libraries' versions.")
def version(_context: Context, *, as_json: bool) -> None:
    """Show which version this is."""
    if not as_json:
        output.data(f"ftmirror {etl.__version__}")
        return
    import platform
    import sqlite3
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    answer: dict[str, str | None] = {
        "version": etl.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "sqlite": sqlite3.sqlite_version,
    }
    for library in _LIBRARIES:
        try:
            answer[library] = installed(library)
        except PackageNotFoundError:
            answer[library] = None
    output.json(answer)
