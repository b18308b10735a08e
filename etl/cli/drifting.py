"""`ftmirror drift`: fields and values that the API sent and this version does not know."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from etl.cli import database, output
from etl.cli.choices import resources_named
from etl.cli.options import Context, command
from etl.cli.output import wrapped

FOUND_SOMETHING = 5

MEANING = (
    "Drift is what the API sent and this version does not know, or knows otherwise. Nothing is "
    "lost: the ledger keeps it as it came. A newer version may know it; then `ftmirror replay` "
    "brings it into the tables."
)


@command(
    "drift",
    example="""
    ftmirror drift
    ftmirror drift --resource jobs --json
    """,
)
@click.option(
    "--resource", "resources", multiple=True, metavar="NAME", help="Only this resource. Repeatable."
)
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON array.")
def drift(context: Context, *, resources: Sequence[str], as_json: bool) -> int:
    """Show what this version does not know.

    Fields, values and types that the API sent, by path, each with an example and how many states of
    records had it. Exit code 0: none. 5: some.
    """
    from etl.db import again
    from etl.db import drift as noted

    names = [one.name for one in resources_named(resources)]
    with database.for_reading(context) as engine:
        found = again.read(engine, lambda connection: noted.listed(connection, names))
    for one in found:
        one["path"] = context.mask(one["path"])
        one["example"] = context.mask(one["example"] or "")
    if as_json:
        output.json(found)
    elif found:
        output.data(
            "\n".join([*wrapped(MEANING), *(line for one in found for line in _lines(one))])
        )
    else:
        output.data("no drift: this version knows all that the API sent")
    return FOUND_SOMETHING if found else 0


def _lines(one: Mapping[str, Any]) -> Iterator[str]:
    yield ""
    yield from wrapped(f"{one['resource']}: {one['path']}")
    times = "once" if one["occurrences"] == 1 else f"{one['occurrences']:,} times"
    first, last = (f"{one[name]:%Y-%m-%d}" for name in ("first_seen_at", "last_seen_at"))
    when = f"on {first}" if first == last else f"from {first} to {last}"
    yield from wrapped(f"{one['kind']}, {times}, {when}", "  ")
    yield from wrapped(f"as `{one['example']}`", "  ")
