"""`ftmirror quarantine`: records that could not become rows, and another try at them."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from etl.cli import database, output, progress
from etl.cli.choices import resources_named
from etl.cli.group import LazyGroup
from etl.cli.options import WAIT, Context, command, epilog
from etl.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Row

    from etl.quarantine import Retried

PARTIAL = 3
#: Characters of a reason in the list; `show` has all of it.
_REASON = 160


@click.group(
    "quarantine",
    cls=LazyGroup,
    lazy={
        "list": ("etl.cli.quarantine:list_", "List the records in quarantine."),
        "show": ("etl.cli.quarantine:show", "Show one, with its text."),
        "retry": ("etl.cli.quarantine:retry", "Read them once more."),
    },
    epilog=epilog("ftmirror quarantine list"),
)
def quarantine() -> None:
    """Look at records that could not become rows, and try them again."""


@command("list", example="ftmirror quarantine list --resource jobs")
@click.option("--resource", metavar="NAME", help="Only this resource.")
@click.option("--all", "with_resolved", is_flag=True, help="Also those that were resolved.")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON array.")
def list_(context: Context, *, resource: str | None, with_resolved: bool, as_json: bool) -> None:
    """List the records in quarantine.

    What the API sends in good shape later leaves it by itself.
    """
    from etl.db import quarantine as stored
    from etl.db.tables import quarantine as table

    where: list[ColumnElement[bool]] = [] if with_resolved else [table.c.resolved_at.is_(None)]
    if resource is not None:
        resources_named([resource])
        where.append(table.c.resource == resource)
    with database.for_reading(context) as engine:
        found = stored.lines(engine, *where)
    if as_json:
        output.json([_told(line) for line in found])
        return
    if not found:
        output.data("nothing in quarantine")
        return
    several = len({line.source for line in found}) > 1
    output.table(
        ["id", "what", "last seen (UTC)", *(["resolved"] if with_resolved else []), "reason"],
        [
            (
                line.id,
                " ".join(
                    filter(None, [line.source if several else "", line.resource, line.record_id])
                ),
                line.last_seen_at,
                *([line.resolved_at] if with_resolved else []),
                _short(line.reason),
            )
            for line in found
        ],
    )


@command("show", example="ftmirror quarantine show 12")
@click.argument("number", type=click.IntRange(1), metavar="ID")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
def show(context: Context, *, number: int, as_json: bool) -> None:
    """Show one record in quarantine, with its text."""
    from etl.db import quarantine as stored
    from etl.db.tables import quarantine as table

    with database.for_reading(context) as engine:
        found = stored.lines(engine, table.c.id == number)
        if not found:
            raise UsageError(f"quarantine has no line {number}; see `ftmirror quarantine list`")
        (line,) = found
        text = stored.text_of(engine, line)
    told = _told(line)
    if as_json:
        output.json({**told, **_payload(text)})
        return
    names = [(name, value) for name, value in told.items() if value is not None and name != "id"]
    width = max(len(name) for name, _ in names)
    for name, value in names:
        shown = value.strftime("%Y-%m-%d %H:%M:%S UTC") if hasattr(value, "strftime") else value
        output.line(f"{name:{width}}  {shown}")
    output.data("")
    payload = _payload(text)
    if "payload" in payload:
        output.data(payload["payload"])
    else:
        output.data(f"{len(text):,} bytes that are no text, as base64:")
        output.data(payload["payload_base64"])


@command(
    "retry",
    example="""
    ftmirror quarantine retry
    ftmirror quarantine retry 12 15
    """,
)
@click.argument("numbers", nargs=-1, type=click.IntRange(1), metavar="[ID]…")
@click.option("--resource", metavar="NAME", help="Only this resource.")
@WAIT
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
def retry(
    context: Context,
    *,
    numbers: Sequence[int],
    resource: str | None,
    wait: float,
    as_json: bool,
) -> int:
    """Read records in quarantine once more.

    A later version may understand them; the API is not asked. Exit code 0: none is left of those
    that were meant. 3: some are.
    """
    from etl import quarantine as trying
    from etl.record import Origin
    from etl.resources import discover

    if resource is not None:
        resources_named([resource])
    origins = {
        one.name: Origin(one.name, one.provider, one.id_space, one.project)
        for one in context.settings.sources
    }
    order = trying.Order(discover(), tuple(numbers), resource, origins, wait)
    with database.for_writing(context, wait=wait) as engine:
        if not trying.open_lines(engine, order):
            _none(as_json=as_json)
            return 0
        with progress.shown(context) as step:
            retried = trying.retry(engine, order, step)
    _answer(retried, as_json=as_json)
    return PARTIAL if retried.remaining else 0


def _none(*, as_json: bool) -> None:
    if as_json:
        output.json({"run_id": None, "status": "success", "resolved": 0, "remaining": []})
    else:
        output.data("nothing in quarantine")


def _answer(retried: Retried, *, as_json: bool) -> None:
    result = retried.result
    if as_json:
        left = [{**_told(line), "not_retried": why} for line, why in retried.remaining]
        told = {**result.as_json(), "resolved": retried.resolved, "remaining": left}
        if left:
            told["status"] = "partial"
        output.json(told)
        return
    left_over = len(retried.remaining)
    output.data(f"run {result.run_id}: {retried.resolved:,} resolved, {left_over:,} left")
    for line, why in retried.remaining:
        name = line.record_id or "without id"
        output.line(f"  {line.id}: {line.resource} {name}: {why or _short(line.reason)}")


def _told(line: Row[Any]) -> dict[str, Any]:
    """What is known of a line, for machines."""
    names = ("id", "source", "resource", "record_id", "parent_id", "reason", "run_id")
    times = ("first_seen_at", "last_seen_at", "resolved_at")
    return {name: getattr(line, name) for name in (*names, *times)}


def _payload(text: bytes) -> dict[str, str]:
    try:
        return {"payload": text.decode()}
    except UnicodeDecodeError:
        return {"payload_base64": base64.b64encode(text).decode()}


def _short(reason: str) -> str:
    return reason if len(reason) <= _REASON else f"{reason[:_REASON]}…"
