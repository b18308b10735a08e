"""What was billed, beside what it should have been."""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Connection,
    func,
    select,
)

from etl.report.asking import month_within, view
from etl.report.figures import (
    Billed,
    LineItem,
    Period,
)

#: Lines of the reconciliation, and line items that no pattern knows.
BILLED, UNKNOWN_ITEMS = 240, 20
_reconciliation = view(
    "spend_reconciliation",
    *("month", "project_id", "project_name", "currency"),
    *("estimated_nano", "billed_training_nano", "billed_other_nano", "unpriced_jobs"),
)
_items = view("billed_line_items", "month", "line_item", "kind", "currency", "amount_nano")


def billed_within(connection: Connection, period: Period) -> list[Billed]:
    """Each month, project and currency: what was estimated, and what was billed."""
    seen = _reconciliation.c
    query = select(_reconciliation).where(month_within(period, seen.month))
    return [
        Billed(
            month=row.month,
            project_id=row.project_id or "",
            project_name=row.project_name,
            currency=row.currency,
            estimated=int(row.estimated_nano),
            training=_known(row.billed_training_nano),
            other=_known(row.billed_other_nano),
            unpriced_jobs=int(row.unpriced_jobs),
        )
        for row in connection.execute(
            query.order_by(seen.month.desc(), seen.project_id, seen.currency)
        )
    ]


def _known(amount: Any) -> int | None:
    """A sum as a whole number, of whatever type the database makes it."""
    return None if amount is None else int(amount)


def has_items(connection: Connection) -> bool:
    """Was any line of a bill read, of whatever time?"""
    return connection.execute(select(_items.c.month).limit(1)).first() is not None


def unknown_items_within(connection: Connection, period: Period) -> list[LineItem]:
    """Line items that no pattern knows, the largest amounts first."""
    seen = _items.c
    amount = func.sum(seen.amount_nano)
    query = (
        select(seen.line_item, seen.currency, amount)
        .where(seen.kind.is_(None), month_within(period, seen.month))
        .group_by(seen.line_item, seen.currency)
        .order_by(amount.desc(), seen.line_item, seen.currency)
    )
    return [LineItem(row[0], row[1], int(row[2])) for row in connection.execute(query)]
