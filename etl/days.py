"""A list of days: all of it in the first run, the last days of it anew in each run after that.

What is known of it without a gap goes from one day to another, which its frontier holds as its two
ids, the later first. Days are asked for by time, so a reading that was cut goes on at the day it
stood at: a server's own name for a page may be forgotten by then.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, func, select

from etl.api.paging import Page, pages
from etl.batch import Refusal, read, rows_of
from etl.db import again, missing
from etl.db.frontier import Frontier, Place
from etl.db.tables import records
from etl.errand import Errand
from etl.errors import RecordError
from etl.fields import Drift
from etl.pipe import Chunk
from etl.record import Origin, Record
from etl.resource import Days, Resource

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Way:
    """Which days one run reads."""

    #: Where it begins.
    start: date
    #: The first day of all that is known of the list, once it came to its end.
    first: date
    #: When the reading began that comes to the whole list; None for one of the last days.
    whole_since: datetime | None


def account(engine: Engine, resource: Resource, origin: Origin) -> str:
    """Whose days they are that do not say so themselves, as an import needs it. Raises StoreError.

    '' for a resource whose records have an id.
    """
    if resource.days is None:
        return ""
    return _known(engine, resource.days, origin)[1]


def days(errand: Errand) -> Iterator[Chunk]:
    """The days that are due, with how far the list is read once they are written."""
    if errand.resource.days is None:
        raise ValueError(f"{errand.resource.name} is no list of days")
    oldest, whose = _known(errand.engine, errand.resource.days, errand.origin)
    if oldest is None:
        log.warning(
            "%s, %s: not asked for, since the mirror holds no job of %s yet; sync jobs first",
            errand.source.name,
            errand.resource.name,
            errand.source.id_space,
        )
        return
    way = _way(errand, oldest.date())
    yield from _Reading(errand, way, errand.source.organization or whose).chunks()


class Bills:
    """Which days of a source have amounts in the mirror, each under the names it came under.

    A source has one bill. Where its days come under another account's name than before, since the
    settings, the jobs or the API say another now, the same amounts would stand there twice.
    """

    def __init__(self, engine: Engine, resource: Resource, origin: Origin) -> None:
        """Raises StoreError."""
        self._resource = resource
        #: Ids by their day.
        self._ids: dict[str, set[str]] = {}
        for one in again.read(engine, lambda connection: _filled(connection, resource, origin)):
            self.take(one)

    def others(self, identifier: str) -> list[str]:
        """What else there is of that day."""
        return sorted(self._ids.get(_day(identifier), set()) - {identifier})

    def take(self, identifier: str, *, is_only: bool = False) -> None:
        """A day has amounts now; `is_only`: and none under another name."""
        ids = self._ids.setdefault(_day(identifier), set())
        if is_only:
            ids.clear()
        ids.add(identifier)

    def placed(self, item: Record | Refusal) -> Record | Refusal:
        """A day that no listing brought, as the one that the mirror has, or why it cannot be.

        Where it does not say whose it is, it is that one's. Where it is another account's, nobody
        knows which of the two counts.
        """
        days = self._resource.days
        if isinstance(item, Refusal) or days is None:
            return item
        others = self.others(item.id)
        for other in others:
            if days.name(item.payload, _account(other)) == other:
                return msgspec.structs.replace(item, id=other)
        if others:
            reason = (
                f"the mirror has this day as {_account(others[0])}'s, here it is "
                f"{_account(item.id)}'s, and of source {item.origin.source} a day counts once; if "
                "it is of another bill, import it with the --source NAME that the bill is of"
            )
            return Refusal(item.payload, reason, item.id, item.arrival)
        if _has_rows(self._resource, item):
            self.take(item.id)
        return item


def _filled(connection: Connection, resource: Resource, origin: Origin) -> list[str]:
    """The ids of a source's days that have rows."""
    found: list[str] = []
    for table, column in resource.owned.items():
        query = select(records.c.id).where(
            records.c.resource == resource.name,
            records.c.source == origin.source,
            records.c.id_space == origin.id_space,
            records.c.id.in_(select(table.c[column])),
        )
        found += connection.scalars(query)
    return found


def _has_rows(resource: Resource, item: Record) -> bool:
    """Does anything of it count?"""
    try:
        return any(not isinstance(row, Drift) for row in rows_of(resource, item))
    except RecordError:
        return False
    finally:
        item.forget_value()


def _known(engine: Engine, asked: Days, origin: Origin) -> tuple[datetime | None, str]:
    """When there first was something, and whose days they are as far as the mirror tells.

    That is the one account that the source's own rows name, else the one of its id space's; where
    there are several, or none, the id space itself.
    """
    table = asked.since.table.c
    ends = func.min(asked.since), func.min(asked.account), func.max(asked.account)
    query = select(table.source, *ends).where(table.id_space == origin.id_space)

    def load(connection: Connection) -> list[Any]:
        return [tuple(line) for line in connection.execute(query.group_by(table.source))]

    found = again.read(engine, load)
    oldest = min((line[1] for line in found if line[1] is not None), default=None)
    own = {one for line in found if line[0] == origin.source for one in line[2:]}
    every = {one for line in found for one in line[2:]}
    for some in (own - {None}, every - {None}):
        if len(some) == 1:
            return oldest, some.pop()
    return oldest, origin.id_space


def _way(errand: Errand, oldest: date) -> _Way:
    """Where to begin: what is said of a day may change for `costs_reread`."""
    known = errand.frontier
    today = errand.started_at.date()
    if errand.is_whole or len(known.newest_ids) != 2:
        return _Way(oldest, oldest, errand.started_at)
    last, first = map(date.fromisoformat, known.newest_ids)
    if oldest < first:  # older jobs came to be known
        return _Way(oldest, oldest, errand.started_at)
    back = timedelta(seconds=errand.source.costs_reread)
    if known.cursor is None:
        return _Way(max(_before(min(last, today), back), first), first, None)
    began = known.listing_started_at or errand.started_at
    start = min(date.fromisoformat(known.cursor), _before(began.date(), back))
    return _Way(max(start, first), first, began)


def _before(day: date, back: timedelta) -> date:
    """The day from which on that much of the time up to a day is read."""
    try:
        return (datetime.combine(day, time()) - back).date()
    except OverflowError:
        return date.min


class _Reading:
    """The reading of some days in one run."""

    def __init__(self, errand: Errand, way: _Way, whose: str) -> None:
        self._errand = errand
        self._way = way
        self._whose = whose
        #: The digest of each day that came.
        self._came: dict[str, str] = {}
        #: Of days that came under another name than before, the earlier ids.
        self._moved: set[str] = set()
        self._nameless = 0

    def chunks(self) -> Iterator[Chunk]:
        """The days, page by page."""
        errand, way = self._errand, self._way
        asked = errand.resource.days
        bills = Bills(errand.engine, errand.resource, errand.origin)
        start = int(datetime.combine(way.start, time(), UTC).timestamp())
        params = [("start_time", str(start)), *(asked.params if asked else ())]
        for page in pages(errand.clients[0], errand.resource.path, params=params):
            items, caveat = self._records(page)
            moved = self._replaced(items, bills)
            places: tuple[Place, ...] = ()
            if page.cursor is not None and way.whole_since is not None and self._came:
                last = date.fromisoformat(max(_day(one) for one in self._came))
                places = (self._place(self._under_way(last)),)
            items += moved
            yield Chunk(items, 1, places, missing=[one.id for one in moved], caveat=caveat)
            if page.cursor is not None:
                errand.deadline.check()
        gone, caveat = self._gone()
        yield Chunk(places=(self._place(self._done()),), missing=gone, caveat=caveat)

    def _records(self, page: Page) -> tuple[list[Record | Refusal], str | None]:
        """The days of a page, and what a person should know of those that came before."""
        errand, seen_at = self._errand, self._errand.now()
        items: list[Record | Refusal] = []
        otherwise: list[str] = []
        for text in page.items:
            item = read(errand.resource, text, errand.origin, seen_at, account=self._whose)
            items.append(item)
            if isinstance(item, Refusal):
                self._nameless += 1
                continue
            if self._came.get(item.id, item.canonical_digest) != item.canonical_digest:
                otherwise.append(item.id)
            self._came[item.id] = item.canonical_digest
            item.forget_value()
        if not otherwise:
            return items, None
        return items, (
            f"{', '.join(sorted(set(otherwise)))} came twice, with other amounts; the later ones "
            "count. If the next run finds others again, compare them with the provider's own page"
        )

    def _replaced(self, items: list[Record | Refusal], bills: Bills) -> list[Record]:
        """What takes the place of days that came under another name before: nothing.

        It is written in the transaction that writes those days, so no amount ever counts twice.
        """
        errand, days = self._errand, self._errand.resource.days
        found: dict[str, Record] = {}
        renamed: Counter[tuple[str, str]] = Counter()
        for item in items:
            if isinstance(item, Refusal) or days is None:
                continue
            others = bills.others(item.id)
            if others and not _fits(errand.resource, item):
                continue  # it will be quarantined, and the day keeps what it has
            bills.take(item.id, is_only=True)
            found.pop(item.id, None)
            for other in others:
                text = days.moved(item.id)
                found[other] = msgspec.structs.replace(item, id=other, payload=text)
                renamed[_account(other), _account(item.id)] += 1
        self._moved |= found.keys()
        for (before, now), count in sorted(renamed.items()):
            log.warning(
                "%s, %s: days that were %s's came under the name of %s (%s of them); each counts "
                "once, as it came now. Do the source's settings name the right organization?",
                errand.source.name,
                errand.resource.name,
                before,
                now,
                f"{count:,}",
            )
        return list(found.values())

    def _under_way(self, last: date) -> Frontier:
        """How far a reading of the whole list is, with this day as its last."""
        before, way = self._errand.frontier, self._way
        cursor = str(last + timedelta(days=1))
        return Frontier((str(last), str(way.first)), (), cursor, way.whole_since, before.listed_at)

    def _done(self) -> Frontier:
        way, before = self._way, self._errand.frontier
        last = self._errand.started_at.date()
        return Frontier(
            (str(max(last, way.first)), str(way.first)),
            listed_at=way.whole_since or before.listed_at,
        )

    def _gone(self) -> tuple[list[str], str | None]:
        """The days that were there before, and of which the answer said nothing."""
        errand = self._errand
        place = (errand.engine, errand.resource, errand.source.name)
        start = str(self._way.start)
        came = {_day(one) for one in self._came}
        there = [one for one in missing.ids(*place) if _day(one) >= start]
        # The same day under another account's name is not gone, whatever else is.
        renamed = [one for one in there if one not in self._came and _day(one) in came]
        renamed = missing.unmarked(
            *place, [one for one in renamed if one not in self._moved], errand.started_at
        )
        stored = {_day(one) for one in there}
        unseen = [one for one in there if _day(one) not in came]
        gone = missing.unmarked(*place, unseen, errand.started_at)
        if not gone or self._nameless:
            return renamed, None
        if (len(stored) - len(gone)) * 2 < len(stored) and not errand.accept_missing:
            return renamed, (
                f"the answer came with {len(stored) - len(gone):,} of the {len(stored):,} days "
                f"stored since {start}, so none was marked as missing; if they are really gone, "
                "run `ftmirror sync --accept-missing`"
            )
        return renamed + gone, None

    def _place(self, frontier: Frontier) -> Place:
        return Place(self._errand.source.name, self._errand.resource.name, frontier)


def _fits(resource: Resource, item: Record) -> bool:
    try:
        rows_of(resource, item)
    except RecordError:
        return False
    finally:
        item.forget_value()
    return True


def _day(identifier: str) -> str:
    return identifier.rpartition("/")[2]


def _account(identifier: str) -> str:
    return identifier.rpartition("/")[0]
