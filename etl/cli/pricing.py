"""`ftmirror prices`: the price book, and what it has no price for."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import click

from etl.cli import database, output
from etl.cli.group import LazyGroup
from etl.cli.options import Context, command, epilog
from etl.cli.output import wrapped

if TYPE_CHECKING:
    from etl.db.prices import UnpricedModel
    from etl.spend.prices import Book, Price

FOUND_SOMETHING = 5

#: What a price is for where its note does not say so, by what the price book calls a unit.
USUAL_UNIT = "1M trained tokens"
#: What a price is for in few words, by the same; and by a unit of `job_usage`.
_PER = {USUAL_UNIT: "1M tokens", "training hour": "hour"}
_LACKS = {"trained_token": "1M tokens", "training_second": "hour"}
#: Columns that a note has at least: its longest word.
_NARROWEST = len("reinforcement,")

PER_WHAT = "USD are for 1M trained tokens, or for an hour of training where a note says so."
PART_FREE = (
    "part free: some tokens were free in that time, and the API does not say which; the cost of "
    "such jobs is marked as uncertain."
)
HOW_TO = (
    "Write their prices into a file of your own, and name it in the settings: [prices] with "
    'file = "my-prices.toml". config/prices.toml, which ships with this, says of what form it is.'
)


@click.group(
    "prices",
    cls=LazyGroup,
    lazy={
        "list": ("etl.cli.pricing:list_", "List the prices that count."),
        "check": ("etl.cli.pricing:check", "Check the price book, and what it lacks."),
    },
    epilog=epilog("ftmirror prices list"),
)
def prices() -> None:
    """Look at the price book."""


@command("list", example="ftmirror prices list")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
def list_(context: Context, *, as_json: bool) -> None:
    """List the prices that count.

    Those that this version ships, and over them those of your own file (`file` of [prices] in the
    settings). No database is asked.
    """
    from etl.spend.prices import load

    book = load(context.settings.prices_file)
    if as_json:
        output.json(_told(book))
        return
    by_name = sorted(book.prices, key=lambda one: (one.kind, one.valid_from, one.is_own))
    for provider, some in groupby(by_name, key=lambda one: one.provider):
        _table(provider, list(some))
        output.data("")
    items = [(one.contains, one.kind, _yours(one.is_own)) for one in book.line_items]
    output.table(["line items that hold", "are", "note"], items)
    output.data("")
    output.data("\n".join(wrapped(PER_WHAT)))
    if any(one.has_free_allowance for one in book.prices):
        output.data("\n".join(wrapped(PART_FREE)))


def _table(provider: str, found: Sequence[Price]) -> None:
    """The prices of one provider; notes go on in lines of their own before a name is broken."""
    columns = ["model", "USD", "from", "until"]
    rows = [(one.model, one.price_usd, one.valid_from, one.valid_until or "") for one in found]
    widths = [max(len(str(cell)) for cell in column) for column in zip(columns, *rows, strict=True)]
    out = output.console(sys.stdout)
    between = 3 if out.is_terminal else 2  # characters, of two columns
    room = max(out.width - sum(widths) - between * len(widths), _NARROWEST)
    lines: list[tuple[object, ...]] = []
    for row, one in zip(rows, found, strict=True):
        first, *more = textwrap.wrap(", ".join(_notes(one)), room) or [""]
        lines += [(*row, first), *((None,) * len(row) + (rest,) for rest in more)]
    output.table([*columns, "note"], lines, title=provider, right=["USD"])


def _notes(one: Price) -> Iterator[str]:
    if one.method:
        yield one.method
    if one.unit_text != USUAL_UNIT:
        yield f"per {_PER[one.unit_text]}"
    if one.confidence != "sure":
        yield one.confidence
    if one.has_free_allowance:
        yield "part free"
    if one.is_own:
        yield _yours(one.is_own)


def _yours(is_own: bool) -> str:
    return "yours" if is_own else ""


def _told(book: Book) -> dict[str, Any]:
    """The book, for machines; of the prices that fit a job the one of highest precedence counts."""
    return {
        "prices": [
            {
                "provider": one.provider,
                "model": one.model,
                "method": one.method or None,
                "unit": one.unit_text,
                "price_usd": one.price_usd,
                "valid_from": one.valid_from,
                "valid_until": one.valid_until,
                "has_free_allowance": one.has_free_allowance,
                "confidence": one.confidence,
                "source": one.source,
                "file": one.file,
                "entry": one.number,
                "own": one.is_own,
                "precedence": precedence,
            }
            for precedence, one in enumerate(book.prices, start=1)
        ],
        "line_items": [
            {"contains": one.contains, "kind": one.kind, "file": one.file, "own": one.is_own}
            for one in book.line_items
        ],
    }


@command("check", example="ftmirror prices check")
@click.option("--json", "as_json", is_flag=True, help="Answer with one JSON object.")
def check(context: Context, *, as_json: bool) -> int:
    """Check the price book, and what it lacks.

    Both files, and the jobs of the mirror, if there is one. Exit code 0: nothing lacks. 2: a file
    is wrong; the lines say where. 5: jobs that have ended are of models without a price.
    """
    from etl.db import again
    from etl.db import prices as stored
    from etl.spend.prices import load

    book = load(context.settings.prices_file)
    found: list[UnpricedModel] | None = None
    nameless = 0
    with database.for_rehearsal(context) as engine:
        if engine is not None:
            stored.bring_or_warn(engine, book, "prices check")
            every = again.read(engine, stored.unpriced_models)
            # A job that names no model lacks more than a price.
            found = [one for one in every if one.model is not None]
            nameless = sum(one.jobs for one in every if one.model is None)
    own = sum(one.is_own for one in book.prices)
    if as_json:
        counts = {"prices": len(book.prices), "own": own, "line_items": len(book.line_items)}
        unpriced = None if found is None else [one.as_json() for one in found]
        output.json({**counts, "unpriced": unpriced, "jobs_without_model": nameless})
    else:
        yours = f", {own:,} of them yours" if context.settings.prices_file else ""
        output.data(f"the price book is fine: {len(book.prices):,} prices{yours}")
        _say_unpriced(found)
        if nameless:
            ended = "1 ended job names" if nameless == 1 else f"{nameless:,} ended jobs name"
            output.data("\n".join(wrapped(f"{ended} no model, so no price can be given for it.")))
    return FOUND_SOMETHING if found else 0


def _say_unpriced(found: Sequence[UnpricedModel] | None) -> None:
    if found is None:
        output.data("there is no mirror yet to hold it against")
        return
    if not found:
        output.data("every model of an ended job in the mirror has its price")
        return
    output.data("no price for ended jobs of these models:")
    by_provider: Iterable[UnpricedModel] = sorted(found, key=lambda one: one.provider)
    for provider, some in groupby(by_provider, key=lambda one: one.provider):
        output.data("")
        output.table(
            ["model", "per", "jobs", "first", "last", "prices"],
            [
                (
                    one.model,
                    _LACKS.get(one.unit, one.unit),
                    one.jobs,
                    one.first_at.date(),
                    one.last_at.date(),
                    "other days" if one.reason == "outside_price_dates" else "none",
                )
                for one in some
            ],
            title=provider,
        )
    output.data("")
    output.data("\n".join(wrapped(HOW_TO)))
