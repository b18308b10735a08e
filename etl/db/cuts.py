"""Where a list can be cut, so that several may read it: ids that the mirror holds of it."""

from __future__ import annotations

from sqlalchemy import Connection, Engine, and_, func, select

from etl.db import again
from etl.db.tables import frontiers, records
from etl.resource import Resource


def cuts(
    engine: Engine, resource: Resource, source: str, most: int, page: int, least: int
) -> list[str]:
    """Ids that cut a source's list into even ranges, in the list's order.

    At most so many ranges, each a number of full pages and at least so many. None for a list that
    was never read to its end, and for one that is not ordered by `created_at`. Raises StoreError.
    """
    table = resource.table
    if most < 2 or table is None or "created_at" not in table.c or "source" not in table.c:
        return []

    def look(connection: Connection) -> list[str]:
        if not _was_listed(connection, resource.name, source):
            return []
        mine = table.c.source == source
        total = connection.execute(select(func.count()).select_from(table).where(mine)).scalar_one()
        length = max(-(-total // (most * page)), least) * page
        newest_first = (table.c.created_at.desc(), table.c.id.desc())
        place = func.row_number().over(order_by=newest_first).label("place")
        numbered = select(table.c.id, place).where(mine).subquery()
        is_held = and_(
            records.c.resource == resource.name,
            records.c.id == numbered.c.id,
            records.c.source == source,
            records.c.missing_since.is_(None),
        )
        found = connection.execute(
            select(numbered.c.id)
            .join(records, is_held)
            .where(numbered.c.place % length == 0, numbered.c.place <= total - least * page)
            .order_by(numbered.c.place)
        )
        return list(found.scalars())

    return again.read(engine, look)


def _was_listed(connection: Connection, resource: str, source: str) -> bool:
    """Was this list ever read to its end?"""
    listed_at = select(frontiers.c.listed_at).where(
        frontiers.c.source == source,
        frontiers.c.resource == resource,
        frontiers.c.parent_id == "",
    )
    return connection.execute(listed_at).scalar_one_or_none() is not None
