"""One list read by several at once: cut into ranges where its ids are known, its pages in one row.

What comes out is what plain paging brings, in another order: the list's head first, then whatever
was read first, each item once.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import chain, compress
from queue import Empty, Full, Queue

from etl.api.client import Client
from etl.api.clients import Clients
from etl.api.paging import UNKNOWN_CURSOR, Page, pages
from etl.api.seen import Seen
from etl.errors import ApiError, LongWait
from etl.ranges import Range, Ranges

log = logging.getLogger(__name__)

#: Ranges for each reader, so that they end their work together though some are slower.
RANGES_EACH = 4
#: Pages that a range is worth.
LEAST_PAGES = 5
#: Pages for each reader that may wait to be taken.
PAGES_EACH = 8
#: Seconds in which a server that is near answers: there is hardly a wait to share, and several
#: readers would only be in each other's way.
NEAR = 0.01

#: Seconds between two looks at whether anybody still listens.
_PATIENCE = 0.2
#: Seconds to let the readers end by themselves; they may be in the middle of long answers.
_FAREWELL = 1.0


@contextlib.contextmanager
def listing(
    clients: Clients,
    path: str,
    cuts: Callable[[], Sequence[str]] = tuple,
    params: Sequence[tuple[str, str]] = (),
) -> Iterator[Iterator[Page]]:
    """The pages of a list, cut at the ids that `cuts` finds; plain paging where there are none.

    Plain paging, too, where the server is so near that several readers would only be in each
    other's way; then nobody looks for cuts.

    Raises what `pages` raises, after the pages that came before it. Pages of ranges have no cursor
    from which the list could be taken up.
    """
    crew = _Crew(clients, path, cuts, params)
    try:
        yield crew.pages()
    finally:
        crew.dismiss()


class _End:
    """The readers are through, all by themselves or one by an error."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Crew:
    """Threads that take ranges and leave pages."""

    def __init__(
        self,
        clients: Clients,
        path: str,
        cuts: Callable[[], Sequence[str]],
        params: Sequence[tuple[str, str]],
    ) -> None:
        self._clients = clients
        self._path = path
        self._params = params
        self._cuts = cuts
        self._ranges = Ranges(())
        self._size = clients.source.workers
        #: Each page with whether its range was read before.
        self._waiting: Queue[tuple[Page, bool] | _End] = Queue(self._size * PAGES_EACH)
        self._threads: list[threading.Thread] = []
        #: The first range's pages, the head of the list among them; None once they are being read.
        self._head: Iterator[Page] | None = None
        self._at_work = self._size
        self._leaving = threading.Lock()
        #: Nobody takes pages any more.
        self._is_over = threading.Event()

    def pages(self) -> Iterator[Page]:
        """Every page, without the items that came before."""
        began = time.monotonic()
        plainly = pages(self._clients[0], self._path, params=self._params)
        head = next(plainly)
        cuts = self._cuts() if time.monotonic() - began >= NEAR else ()
        if not cuts:
            yield head
            yield from plainly
            return
        self._ranges = Ranges(cuts)
        self._at_work = self._size = min(self._size, len(cuts) + 1)
        self._head = chain([head], plainly)
        seen = Seen()
        self._start(0)
        for page, is_again in self._taken():
            # Only now: the head of the list comes before all else.
            while len(self._threads) < self._size:
                self._start(len(self._threads))
            yield _without(seen, page, is_again=is_again)

    def dismiss(self) -> None:
        """Let the threads end; one that waits for an answer may do so a little later."""
        self._is_over.set()
        self._ranges.stop()
        with contextlib.suppress(Empty):
            while True:
                self._waiting.get_nowait()
        until = time.monotonic() + _FAREWELL
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))

    def _start(self, number: int) -> None:
        if self._is_over.is_set():
            self._ranges.stop()  # dismissed before there were any
        thread = threading.Thread(
            target=self._work, args=(self._clients[number],), name=f"reader-{number}", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _taken(self) -> Iterator[tuple[Page, bool]]:
        while not self._is_over.is_set():
            try:
                found = self._waiting.get(timeout=_PATIENCE)
            except Empty:
                continue
            if not isinstance(found, _End):
                yield found
            elif found.error is not None:
                raise found.error
            else:
                return

    def _put(self, found: tuple[Page, bool] | _End) -> None:
        while not self._is_over.is_set():
            try:
                self._waiting.put(found, timeout=_PATIENCE)
            except Full:
                continue
            return

    def _work(self, client: Client) -> None:
        try:
            while (one := self._ranges.take()) is not None:
                self._read(client, one)
        except BaseException as error:  # noqa: BLE001 - it is raised again where pages are taken
            self._ranges.stop()
            self._put(_End(error))
            return
        with self._leaving:
            self._at_work -= 1
            is_last = not self._at_work
        if is_last:
            self._put(_End())

    def _following(self, client: Client, one: Range) -> Iterator[Page]:
        """The pages behind a range's start; the first range goes on where the list was begun."""
        if one.start is None and self._head is not None:
            head, self._head = self._head, None
            return head
        return pages(client, self._path, after=one.start, params=self._params)

    def _read(self, client: Client, one: Range) -> None:
        """Read a range to its end, or say in which way it did not get there."""
        page: Page | None = None
        following = self._following(client, one)
        while not self._ranges.is_over:
            try:
                page = next(following)
            except ApiError as error:
                if page is None and _may_be_lost(one, error):
                    log.debug("%s: no way to begin behind %s: %s", self._path, one.start, error)
                    self._ranges.lost(one)
                elif page is not None and _may_be_repeated(one) and _is_unknown(error):
                    self._ranges.again(one)
                else:
                    raise
                return
            end = self._ranges.own(one, page.ids, is_first=page.number == 1)
            found = replace(page, items=page.items[:end], ids=page.ids[:end], cursor=None)
            self._put((found, one.readings > 1 or not one.is_cut))
            if page.number == 1 and not found.items and one.start is not None:
                self._ranges.lost(one)
            elif end is None and page.cursor is not None:
                continue
            elif end is None and not page.items and page.number > 1 and _may_be_repeated(one):
                self._ranges.again(one)  # to some servers an unknown cursor is the list's end
            else:
                self._ranges.done()
            return


def _may_be_lost(one: Range, error: ApiError) -> bool:
    """Did this id vanish? Some servers stumble over an unknown one; whoever goes on will see."""
    has_failed = (error.exchange.status or 0) >= 500 and not isinstance(error, LongWait)
    return one.start is not None and (_is_unknown(error) or has_failed)


def _may_be_repeated(one: Range) -> bool:
    return one.is_cut and one.readings == 1


def _is_unknown(error: ApiError) -> bool:
    return error.exchange.status in UNKNOWN_CURSOR


def _without(seen: Seen, page: Page, *, is_again: bool) -> Page:
    """The page without what came before; an item without an id only where it is read again."""
    pairs = list(zip(page.ids, page.items, strict=True))
    new = seen.add_all([name or item for name, item in pairs])
    if not all(new) and not is_again:
        new = [one or not name for one, name in zip(new, page.ids, strict=True)]
    if all(new):
        return page
    return replace(page, items=list(compress(page.items, new)), ids=list(compress(page.ids, new)))
