"""How far each list was read: what is known of it without a gap, and what is still to be read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from etl import jsontext
from etl.db import bulk
from etl.db.tables import frontiers
from etl.db.types import utc_text
from etl.fields import clean

#: How many ids at the head of a list are remembered: the first may vanish.
NEWEST = 20


@dataclass(frozen=True)
class Gap:
    """A part of a list that was begun at the head and not read to where it was read before."""

    #: The first ids of it, newest first.
    newest_ids: tuple[str, ...]
    #: Behind this id nobody has read yet.
    cursor: str


@dataclass(frozen=True)
class Frontier:
    """How far one list was read."""

    #: The newest ids from which on the list is known without a gap, newest first: to its end, or to
    #: `cursor` while the first listing is under way.
    newest_ids: tuple[str, ...] = ()
    #: Parts above that, newest first.
    gaps: tuple[Gap, ...] = ()
    #: The listing under way: behind which id it goes on, and when it began.
    cursor: str | None = None
    listing_started_at: datetime | None = None
    #: When the last listing that reached the end had begun.
    listed_at: datetime | None = None


@dataclass(frozen=True)
class Place:
    """How far a list was read once the records beside this are written."""

    source: str
    resource: str
    frontier: Frontier
    #: '' for a list that belongs to no parent.
    parent_id: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What it is the place of."""
        return self.source, self.resource, self.parent_id


def load(connection: Connection, source: str, resource: str, parent_id: str = "") -> Frontier:
    """How far a list was read; an empty one for a list that was not."""
    line = connection.execute(
        select(frontiers).where(
            frontiers.c.source == source,
            frontiers.c.resource == resource,
            frontiers.c.parent_id == parent_id,
        )
    ).one_or_none()
    if line is None:
        return Frontier()
    return Frontier(
        tuple(line.newest_ids or ()),
        tuple(Gap(tuple(gap["newest_ids"]), gap["cursor"]) for gap in line.gaps or ()),
        line.cursor,
        line.listing_started_at,
        line.listed_at,
    )


def save(connection: Connection, places: Iterable[Place]) -> None:
    """Write how far lists were read; the last place of a list counts."""
    last = {place.key: place for place in places}
    bulk.upsert_rows(connection, frontiers, [_line(last[key]) for key in sorted(last)])


if frontiers.columns.keys() != [
    "source",
    "resource",
    "parent_id",
    "newest_ids",
    "gaps",
    "cursor",
    "listing_started_at",
    "listed_at",
]:
    raise AssertionError("frontiers has other columns than are written")


def _line(place: Place) -> tuple[Any, ...]:
    found = place.frontier
    gaps = [{"newest_ids": list(gap.newest_ids), "cursor": gap.cursor} for gap in found.gaps]
    return (
        place.source,
        place.resource,
        place.parent_id,
        jsontext.compact(list(found.newest_ids)) if found.newest_ids or found.listed_at else None,
        jsontext.compact(gaps) if gaps else None,
        found.cursor and clean(found.cursor),
        found.listing_started_at and utc_text(found.listing_started_at),
        found.listed_at and utc_text(found.listed_at),
    )
