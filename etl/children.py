"""What hangs off records that are mirrored already: asked for parent by parent, several at once.

Each parent's answer is one chunk, in the order of the parents, with the word of how far that parent
is read; so the tables come out the same whichever answer came first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from etl import jsontext
from etl.api.answers import file_of, object_of
from etl.api.client import Client
from etl.api.clients import Clients
from etl.api.paging import Page, pages
from etl.api.paths import fill
from etl.api.seen import Seen
from etl.asking import Asked, Patience, ask, path_of
from etl.batch import Refusal, read
from etl.db.frontier import Frontier, Place
from etl.db.progress import Due, ParentRead, due, positions
from etl.db.quarantine import doubted_parents
from etl.deadline import Deadline, ago
from etl.errors import RecordError
from etl.fields import LAST_SECOND
from etl.gather import gather
from etl.order import is_out_of_place, is_rising
from etl.pipe import Chunk
from etl.record import Origin, Record
from etl.resource import Parents, Resource
from etl.settings import Source

#: Records of one parent in one chunk.
AT_ONCE = 2_000
#: How many of the newest ids of a job's events are remembered: there is such a line for every job.
NEWEST = 3
#: A byte of a result file becomes so many times the rows that a byte of JSON becomes.
CONTENT_WEIGHT = 8


@dataclass(frozen=True)
class Round:
    """What one run is to ask of the parents of one resource."""

    engine: Engine
    clients: Clients
    source: Source
    resource: Resource
    parents: Parents
    origin: Origin
    now: Callable[[], datetime]
    deadline: Deadline
    #: Jobs that the run is narrowed to; None for all.
    jobs: Seen | None = None
    #: Ask again what is only asked for once in a while.
    is_full: bool = False
    #: Ask again, and for all they have, the parents whose answers hold what could not be read.
    is_doubting: bool = False
    #: Called with how many parents there are to ask, where that is known.
    told: Callable[[int], None] | None = None


@dataclass(frozen=True)
class Items:
    """The texts of one parent's records, as the list has them."""

    texts: list[bytes]
    ids: list[str | None]
    pages: int
    #: Did the list come to where it was read before? True where it was never read.
    is_joined: bool = True


def children(this: Round) -> Iterator[Chunk]:
    """The records of every parent that is due."""
    patience = Patience()
    for parent, asked in gather(this.clients, _due(this), _asker(this)):
        if asked.error is not None:
            yield from _failed(this, parent, asked)
        elif asked.found is None:
            yield Chunk(reads=(_word(this, parent, asked, is_absent=True),))
        else:
            yield from _read(this, parent, asked, asked.found)
        patience.note(asked)
    if patience.failed:
        yield Chunk(caveat=f"{patience.failed} of the answers failed; the next run asks again")


def _due(this: Round) -> Iterator[Due]:
    every = 0 if this.is_full else this.source.full_every
    unread_since = ago(this.now(), every)
    came = Seen()
    doubted: frozenset[str] = frozenset()
    if this.is_doubting:
        doubted = doubted_parents(this.engine, this.resource, this.source.name)
    told = this.told if this.jobs is None else None
    for parent in due(this.engine, this.resource, this.source.name, unread_since, doubted, told):
        if this.jobs is not None and parent.job_id not in this.jobs:
            continue
        if came.add(parent.asked):  # several jobs may name one file
            this.deadline.check()
            yield parent


def _asker(this: Round) -> Callable[[Client, Due], Asked[Items]]:
    reads = this.parents.reads

    def asked(client: Client, parent: Due) -> Asked[Items]:
        path = path_of(this.resource.path, parent.asked)
        if path is None:
            return Asked(this.now(), is_absent=True)
        if reads in ("list", "growing list"):
            return ask(lambda: _listed(this.deadline, client, path, parent.newest_ids), this.now)
        return ask(lambda: _one(client, path, parent.asked, is_file=reads == "content"), this.now)

    return asked


def _one(client: Client, path: str, asked: str, *, is_file: bool) -> Items:
    return Items([client.read(path, file_of if is_file else object_of)], [asked], 0)


def _listed(deadline: Deadline, client: Client, path: str, known: Sequence[str]) -> Items:
    """A parent's list, newest first, down to what is known of it."""
    texts: list[bytes] = []
    ids: list[str | None] = []
    number = 0
    rises = False
    is_joined = not known
    for page in pages(client, path):
        number = page.number
        deadline.check_stopped()
        if number == 1:
            rises = is_rising(page.items)
        # In a list that begins with the oldest, what is known says nothing of what follows.
        end = None if rises else _end(page, known)
        texts += page.items[:end]
        ids += page.ids[:end]
        if end is not None:
            is_joined = True
            break
    texts, ids = _once(texts, ids)
    if rises:
        texts, ids = texts[::-1], ids[::-1]
    return Items(texts, ids, number, is_joined)


def _end(page: Page, known: Sequence[str]) -> int | None:
    """Where what is known begins on a page, newest first; None where it is further down."""
    for place, one in enumerate(page.ids):
        if one in known and not is_out_of_place(page.items, place):
            return place
    return None


def _once(texts: list[bytes], ids: list[str | None]) -> tuple[list[bytes], list[str | None]]:
    """Without what comes again further down: there it stands, whatever page told of it before."""
    last = {one: place for place, one in enumerate(ids)}
    if len(last) == len(ids):
        return texts, ids
    kept = [place for place, one in enumerate(ids) if one is None or last[one] == place]
    return [texts[place] for place in kept], [ids[place] for place in kept]


def _read(this: Round, parent: Due, asked: Asked[Items], found: Items) -> Iterator[Chunk]:
    reads = this.parents.reads
    if reads == "content":
        record = Record(
            this.resource.name,
            parent.asked,
            found.texts[0],
            this.origin,
            parent_id=parent.owner,
            observed_at=asked.at,
        )
        done = _word(this, parent, asked, is_settled=True)
        yield Chunk([record], reads=(done,), weight=CONTENT_WEIGHT)
    elif reads == "item":
        item = _item(this, parent, asked, found.texts[0])
        is_settled = isinstance(item, Record) and _is_final(this.resource, item)
        yield Chunk([item], reads=(_word(this, parent, asked, is_settled=is_settled),))
    else:
        yield from _list(this, parent, asked, found)


def _is_final(resource: Resource, record: Record) -> bool:
    """Whether it is; what cannot be read is refused later on, as every record is."""
    try:
        return resource.is_final(record)
    except RecordError:
        return False


def _item(this: Round, parent: Due, asked: Asked[Items], text: bytes) -> Record | Refusal:
    item = read(this.resource, text, this.origin, asked.at, parent_id=parent.owner)
    if isinstance(item, Refusal):
        return replace(item, record_id=parent.asked)
    if item.id != parent.asked:
        reason = f"asked for {parent.asked}, and this is {item.id}"
        return Refusal(text, reason, parent.asked, item.arrival, is_whole=False)
    return item


def _list(this: Round, parent: Due, asked: Asked[Items], found: Items) -> Iterator[Chunk]:
    """A parent's list from the oldest on, so that what is written of it has no gap."""
    is_growing = this.parents.reads == "growing list"
    known = _known(this, parent, found) if is_growing else {}
    places = _positions(parent, found, known) if is_growing else [None] * len(found.ids)
    texts, ids = found.texts[::-1], found.ids[::-1]
    is_settled = _is_settled(this, parent, asked, found)
    is_whole = not (is_growing and parent.newest_ids and found.is_joined)
    done = _word(this, parent, asked, is_settled=is_settled, is_whole=is_whole)
    for start in range(0, max(len(texts), 1), AT_ONCE):
        end = start + AT_ONCE
        items = [
            read(
                this.resource,
                text,
                this.origin,
                asked.at,
                one,
                parent_id=parent.asked,
                position=place,
            )
            for text, one, place in zip(
                texts[start:end], ids[start:end], places[start:end], strict=True
            )
        ]
        is_last = end >= len(texts)
        # What is told once more of a list that goes on behind it is not the newest for that.
        told = known if found.is_joined else {}
        newest = tuple([one for one in reversed(ids[:end]) if one and one not in told][:NEWEST])
        frontier = Frontier((*newest, *parent.newest_ids)[:NEWEST], listed_at=asked.at)
        place = Place(this.source.name, this.resource.name, frontier, parent.asked)
        yield Chunk(
            items,
            pages=found.pages if is_last else 0,
            places=(place,) if is_growing and newest else (),
            reads=(done,) if is_last else (),
        )


def _known(this: Round, parent: Due, found: Items) -> dict[str, int]:
    """The places that earlier reads gave to what is in a list now."""
    if not parent.newest_ids:
        return {}
    return positions(this.engine, this.resource, parent.asked, [one for one in found.ids if one])


def _positions(parent: Due, found: Items, known: Mapping[str, int]) -> list[int]:
    """Where each item stands, from the oldest on. What has a place keeps it, if a list gave it."""
    if not parent.newest_ids:
        return list(range(len(found.ids)))
    # Even of a list that is joined, a page may tell once more what has its place.
    places: list[int] = []
    following = parent.next_position
    for one in reversed(found.ids):
        place = known.get(one) if one else None
        if place is None:
            place, following = following, following + 1
        places.append(place)
    return places


def _is_settled(this: Round, parent: Due, asked: Asked[Items], found: Items) -> bool:
    """Did this read begin long enough after the parent's end, and after the newest that came?"""
    if this.parents.until != "settled" or parent.ended_at is None:
        return False
    newest = [parent.ended_at]
    if this.parents.reads == "growing list" and found.texts:
        seconds = jsontext.item_time(found.texts[0])
        if seconds is not None and 0 < seconds < LAST_SECOND:
            newest.append(datetime.fromtimestamp(seconds, UTC))
    return asked.at >= max(newest) + timedelta(seconds=this.source.children_grace)


def _failed(this: Round, parent: Due, asked: Asked[Items]) -> Iterator[Chunk]:
    """An answer that will stay as it is goes to quarantine; any failure leaves the parent due."""
    word = ParentRead(
        this.resource.name,
        parent.asked,
        this.source.name,
        parent.read_at,
        is_settled=False,
        absent_since=parent.absent_since,
        failed_at=asked.at,
    )
    refusal = Refusal(
        f"GET {fill(this.resource.path, parent.asked)}".encode(), str(asked.error), parent.asked
    )
    yield Chunk([refusal] if asked.is_lasting else (), reads=(word,))


def _may_be_late(this: Round, parent: Due, asked: Asked[Items]) -> bool:
    """Can what is not there still come? A file may, while its job is young."""
    if this.parents.until != "final" or parent.job_at is None:
        return False
    return asked.at < parent.job_at + timedelta(seconds=this.source.children_grace)


def _word(
    this: Round,
    parent: Due,
    asked: Asked[Items],
    *,
    is_settled: bool = False,
    is_absent: bool = False,
    is_whole: bool = False,
) -> ParentRead:
    return ParentRead(
        this.resource.name,
        parent.asked,
        this.source.name,
        asked.at,
        is_settled or (is_absent and not _may_be_late(this, parent, asked)),
        (parent.absent_since or asked.at) if is_absent else None,
        is_whole=is_whole,
    )
