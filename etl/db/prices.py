"""The tables of the price book: brought into step with the files, which alone say what is true.

Where both say the same, nothing is written. Else the tables are replaced whole, in one transaction
under the lease, so that no reader ever meets half a book.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, Table, case, column, delete, func, insert, select, table

from etl.db import again, lease
from etl.db.engine import database_errors, writing
from etl.db.tables import line_item_patterns, prices
from etl.db.types import UtcDateTime
from etl.errors import StoreError, TransientStoreError
from etl.spend.prices import Book
from etl.spend.rules import MOST_TOKENS

log = logging.getLogger(__name__)

#: Why a job has no price, of the reasons in the view `unpriced_jobs`. Others lack more than that.
NO_PRICE, OUTSIDE_DATES = "no_price", "outside_price_dates"

_unpriced = table(
    "unpriced_jobs",
    column("provider"),
    column("base_model"),
    column("unit"),
    column("reason"),
    column("trained_tokens"),
    column("created_at", UtcDateTime()),
)


@dataclass(frozen=True)
class UnpricedModel:
    """Ended jobs of one model for which the price book has no price."""

    provider: str
    #: The model under any chain of fine-tunings; None where the job names none.
    model: str | None
    #: `trained_token` or `training_second`.
    unit: str
    #: `no_price`, or `outside_price_dates` where the model has prices, but for other days.
    reason: str
    jobs: int
    trained_tokens: int
    #: When the first and the last of them were created.
    first_at: datetime
    last_at: datetime

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def bring(
    engine: Engine, book: Book, write: Callable[[Callable[[Connection], None]], None]
) -> bool:
    """Bring the tables into step with the book; false where they were so already.

    `write` does something in a transaction under the lease, as `Store.again` does. Raises
    StoreError.
    """
    if _is_in_step(engine, book):
        return False
    write(lambda connection: _replace(connection, book))
    return True


def bring_under_lease(engine: Engine, book: Book, command: str, *, wait: float = 0.0) -> bool:
    """The same for those who do not hold the lease; it is taken only where something differs.

    Raises LeaseHeld where another writer is at work, StoreError.
    """
    if _is_in_step(engine, book):
        return False
    _write(engine, book, command, wait)
    return True


def bring_or_warn(engine: Engine, book: Book, command: str) -> bool:
    """The same for those who want to read above all: what cannot be written is a warning.

    True where the tables are now as the book says. Else they are as they were: another writer is at
    work, or the database may only be read. Raises TransientStoreError where it is away altogether.
    """
    try:
        if _is_in_step(engine, book):
            return True
    except TransientStoreError:
        raise
    except StoreError as error:
        log.warning("nobody knows whether the prices in the database are current: %s", error)
        return False
    try:
        _write(engine, book, command)
    except StoreError as error:
        log.warning("costs are by other prices than those of the price book: %s", error)
        return False
    return True


def unpriced_models(connection: Connection) -> list[UnpricedModel]:
    """The models without a price that ended jobs have, those of most jobs first."""
    keys = [_unpriced.c[name] for name in ("provider", "base_model", "unit", "reason")]
    count = func.count().label("jobs")
    tokens = _unpriced.c.trained_tokens
    found = connection.execute(
        select(
            *keys,
            count,
            # Without absurd counts, which no sum has room for.
            func.coalesce(func.sum(case((tokens.between(0, MOST_TOKENS), tokens))), 0),
            func.min(_unpriced.c.created_at),
            func.max(_unpriced.c.created_at),
        )
        .where(_unpriced.c.reason.in_([NO_PRICE, OUTSIDE_DATES]))
        .group_by(*keys)
        .order_by(count.desc(), *keys)
    )
    # Sums of whole numbers are Decimals on some databases.
    return [
        UnpricedModel(
            provider=line[0],
            model=line[1],
            unit=line[2],
            reason=line[3],
            jobs=line[4],
            trained_tokens=int(line[5]),
            first_at=line[6],
            last_at=line[7],
        )
        for line in found
    ]


def _rows(book: Book) -> dict[Table, list[dict[str, Any]]]:
    return {prices: book.price_rows(), line_item_patterns: book.pattern_rows()}


def _write(engine: Engine, book: Book, command: str, wait: float = 0.0) -> None:
    with (
        lease.hold(engine, command, wait=wait) as held,
        database_errors(),
        writing(engine) as connection,
    ):
        held.fence(connection)
        _replace(connection, book)


def _is_in_step(engine: Engine, book: Book) -> bool:
    told = {one: _told(one, rows) for one, rows in _rows(book).items()}
    return again.read(
        engine, lambda connection: all(_found(connection, one) == told[one] for one in told)
    )


def _found(connection: Connection, one: Table) -> set[tuple[Any, ...]]:
    return {tuple(line) for line in connection.execute(select(one))}


def _told(one: Table, rows: Sequence[Mapping[str, Any]]) -> set[tuple[Any, ...]]:
    return {tuple(row[name] for name in one.c.keys()) for row in rows}  # noqa: SIM118


def _replace(connection: Connection, book: Book) -> None:
    """Write the book; may be done twice, as all of it is written anew."""
    for one, rows in _rows(book).items():
        found, told = _found(connection, one), _told(one, rows)
        if found == told:
            continue
        connection.execute(delete(one))
        if rows:
            connection.execute(insert(one), rows)
        if found:  # a first book is no news
            log.info("the table %s was brought into step with the price book", one.name)
