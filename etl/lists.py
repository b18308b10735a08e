"""A list of its own, from where it was read before: its head, its gaps, or the whole of it.

What is known of a list without a gap begins at the newest ids of its frontier. A run reads from the
head until it meets them; cut before that, it leaves a gap, which the next run closes after the new
head. A listing that was cut goes on at its cursor once the head is closed.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from etl.api.client import Client
from etl.api.paging import Page, pages
from etl.api.paths import find
from etl.api.seen import Seen
from etl.asking import NOT_THERE, path_of
from etl.batch import Refusal, read
from etl.db import missing
from etl.db.cuts import cuts
from etl.db.frontier import NEWEST, Frontier, Gap, Place
from etl.errand import Errand
from etl.errors import ApiRefused
from etl.listing import LEAST_PAGES, RANGES_EACH, listing
from etl.order import is_out_of_place, is_rising
from etl.pipe import Chunk
from etl.record import Record
from etl.rereading import reread

log = logging.getLogger(__name__)


class Reading:
    """The reading of one list in one run."""

    def __init__(self, errand: Errand) -> None:
        self.errand = errand
        #: The ids that came.
        self.seen = Seen()
        self._path = errand.resource.path
        self._frontier = errand.frontier
        #: The newest ids of this run, once the head was read.
        self._top: tuple[str, ...] | None = None
        self._gaps = errand.frontier.gaps
        #: Is everything read from this run's head down to what was known?
        self._is_joined = not errand.frontier.newest_ids
        self._is_at_end = False
        self._nameless = 0

    def chunks(self) -> Iterator[Chunk]:
        """The records, with how far the list is read once they are written."""
        errand = self.errand
        if errand.narrowing:
            for page in pages(self._client, self._path, params=errand.narrowing):
                yield Chunk(self._records(page), pages=1)
                errand.deadline.check()
        elif errand.is_whole or not errand.frontier.newest_ids:
            yield from self._whole()
        else:
            yield from self._head()
            if not self._is_joined:
                # Nothing that was known came, to the end of the list: read all of it, with the
                # doubts that a whole listing has.
                yield from self._anew()
                return
            yield from reread(errand, self.seen)
            if self._frontier.cursor is not None:
                yield from self._rest(self._frontier.cursor)

    @property
    def _client(self) -> Client:
        return self.errand.clients[0]

    def _whole(self) -> Iterator[Chunk]:
        """From the head to the end, by several readers where the list can be cut."""
        errand = self.errand
        self._gaps, self._is_joined = errand.frontier.gaps, not errand.frontier.newest_ids
        stored = missing.stored(errand.engine, errand.resource, errand.source.name)
        # What is cut by the time limit is to be taken up again, which only plain paging allows.
        known = tuple if errand.deadline.is_set else partial(_cuts, errand)
        with listing(errand.clients, self._path, known) as found:
            for page in found:
                items = self._records(page, is_seen=stored > 0)
                places: tuple[Place, ...] = ()
                if page.cursor is not None:
                    self._meet(page)
                    places = (self._place(self._under_way(page.cursor)),)
                yield Chunk(items, 1, places)
                if page.cursor is not None:
                    errand.deadline.check()
                else:  # several readers, whose places are not known: it will begin anew
                    errand.deadline.check_stopped()
        done = Frontier(self._top or (), listed_at=errand.started_at)
        gone, caveat = self._gone(stored) if stored else ([], None)
        yield Chunk(places=(self._place(done),), missing=gone, caveat=caveat)

    def _under_way(self, cursor: str) -> Frontier:
        """How far a listing from the head is, behind this cursor."""
        before = self.errand.frontier
        is_first = before.listed_at is None
        if self._is_joined:
            top = self._top or ()
            return Frontier(top, (), cursor, self.errand.started_at, before.listed_at)
        gaps = (Gap(self._top or (), cursor), *self._gaps)
        if is_first:  # what was begun earlier is further down than this
            return replace(before, gaps=gaps)
        return replace(before, gaps=gaps, cursor=cursor, listing_started_at=self.errand.started_at)

    def _head(self) -> Iterator[Chunk]:
        """From the head down to what is known, over the gaps that earlier runs left."""
        after: str | None = None
        # Where to go on if the list cannot be taken up behind a gap after all.
        back: str | None = None
        while not (self._is_joined or self._is_at_end):
            gap: Gap | None = None
            for page in pages(self._client, self._path, after=after):
                if back is not None and page.number == 1 and not page.items:
                    after, back = back, None
                    break
                gap = self._meet(page)
                items = self._records(page)
                self._is_at_end = page.cursor is None
                self._frontier = self._closer(page.cursor)
                yield Chunk(items, 1, (self._place(self._frontier),))
                can_jump = gap is not None and gap.cursor not in page.ids
                if gap is not None and can_jump and self._is_there(gap):
                    after, back = gap.cursor, page.cursor
                    break
                if self._frontier.gaps == ():  # what is known was met
                    break
                self.errand.deadline.check()

    def _closer(self, cursor: str | None) -> Frontier:
        """How far the list is read once a page from the head on is written."""
        before = self._frontier
        if self._is_joined:
            return replace(before, newest_ids=self._top or before.newest_ids, gaps=())
        if cursor is None:
            return before
        return replace(before, gaps=(Gap(self._top or (), cursor), *self._gaps))

    def _rest(self, cursor: str) -> Iterator[Chunk]:
        """Go on with the listing that was cut; from the head where its cursor is gone."""
        before = self._frontier
        if not self._is_there(Gap((), cursor)):
            log.warning(
                "%s, %s: the listing stood at %s, which is gone; it begins anew",
                self.errand.source.name,
                self.errand.resource.name,
                cursor,
            )
            yield from self._anew()
            return
        for page in pages(self._client, self._path, after=cursor):
            if page.number == 1 and not page.items:  # it is there, but not in this list
                yield from self._anew()
                return
            if page.cursor is None:
                place = replace(
                    before,
                    cursor=None,
                    listing_started_at=None,
                    listed_at=before.listing_started_at or self.errand.started_at,
                )
            else:
                place = replace(before, cursor=page.cursor)
            yield Chunk(self._records(page), 1, (self._place(place),))
            if page.cursor is not None:
                self.errand.deadline.check()

    def _anew(self) -> Iterator[Chunk]:
        """The whole list from its head, whatever a listing before came to."""
        before = self._frontier
        # Of a first listing nothing is known below the head but where it stood.
        anew = replace(before, cursor=None, listing_started_at=None)
        anew = Frontier() if before.listed_at is None else anew
        self.errand, self._top = replace(self.errand, frontier=anew), None
        yield from self._whole()

    def _meet(self, page: Page) -> Gap | None:
        """Note what a page from the head on came to; the gap to go on behind, if it met one."""
        if self._top is None:
            self._top = tuple([one for one in page.ids if one][:NEWEST])
        if self._is_joined:
            return None
        if _holds(page, self.errand.frontier.newest_ids):
            self._is_joined, self._gaps = True, ()
            return None
        for number in reversed(range(len(self._gaps))):
            gap = self._gaps[number]
            if _holds(page, gap.newest_ids):
                self._gaps = self._gaps[number + 1 :]
                return gap
        return None

    def _is_there(self, gap: Gap) -> bool:
        """Can the list be taken up behind this id? Some servers take an unknown one for the end."""
        path = self.errand.resource.item_path
        if path is None:
            return False
        filled = path_of(path, gap.cursor)
        if filled is None:
            return False
        try:
            self._client.get(filled)
        except ApiRefused as error:
            if error.exchange.status in NOT_THERE:
                return False
            raise
        return True

    def _place(self, frontier: Frontier) -> Place:
        return Place(self.errand.source.name, self.errand.resource.name, frontier)

    def _records(self, page: Page, *, is_seen: bool = True) -> list[Record | Refusal]:
        if self._top is None:
            self._top = tuple([one for one in page.ids if one][:NEWEST])
        if is_seen:
            named = [one for one in page.ids if one]
            self.seen.add_all(named)
            self._nameless += len(page.ids) - len(named)
        origin, seen_at = self.errand.origin, self.errand.now()
        return [
            read(self.errand.resource, item, origin, seen_at, one)
            for item, one in zip(page.items, page.ids, strict=True)
        ]

    def _gone(self, stored: int) -> tuple[list[str], str | None]:
        """What a whole listing came without, of what was there before it began."""
        errand = self.errand
        place = (errand.engine, errand.resource, errand.source.name)
        unseen = [one for one in missing.ids(*place) if one not in self.seen]
        gone = missing.unmarked(*place, unseen, errand.started_at)
        if not gone:
            return [], None
        name = errand.resource.name
        if self._nameless:
            log.warning(
                "%s, %s: %d records came without an id, so nothing was marked as missing",
                errand.source.name,
                name,
                self._nameless,
            )
            return [], None
        came = stored - len(gone)
        if came * 2 < stored and not errand.accept_missing:
            return [], (
                f"the listing came with {came:,} of the {stored:,} {name} stored before, so none "
                "was marked as missing; if they are really gone, run "
                "`ftmirror sync --mode full --accept-missing`"
            )
        return gone, None


def _holds(page: Page, ids: Sequence[str]) -> bool:
    """Does a page come to one of these ids? One that it only tells once more is not where it is."""
    met = [place for place, one in enumerate(page.ids) if one in ids]
    if all(is_out_of_place(page.items, place) for place in met):
        return bool(met) and is_rising(page.items)
    return True


def _cuts(errand: Errand) -> list[str]:
    """Where the list may be cut for the source's readers."""
    page, workers = find(errand.resource.path).page_size, errand.source.workers
    if workers == 1 or page is None:
        return []
    most = workers * RANGES_EACH
    return cuts(errand.engine, errand.resource, errand.source.name, most, page, LEAST_PAGES)
