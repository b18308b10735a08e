"""The pipe: records in, transactions out, and what came of it.

`sync` feeds it pages, `importing` feeds it files; what happens to a record is the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Engine

from etl.ahead import ahead
from etl.batch import Refusal
from etl.db import lease, prices
from etl.db.frontier import Place
from etl.db.progress import ParentRead
from etl.db.runs import Tally
from etl.db.store import Alongside, Store, utc_now
from etl.db.tables import COUNTS
from etl.errors import EtlError, LongWait, StoreError, TimeIsUp
from etl.record import Record
from etl.resource import Resource
from etl.spend.prices import Book

log = logging.getLogger(__name__)

#: A batch ends with the page that brings it to one of these, or to as many records as the database
#: likes (`etl.db.bulk.PACE`).
BATCH_BYTES = 16 * 1024 * 1024
BATCH_SECONDS = 10.0
#: Called after every batch, with how the resource stands.
Progress = Callable[[Tally], None]
#: What a list has cost so far, as counts: requests and retries.
Meter = Callable[[], Mapping[str, int]]


def free() -> Mapping[str, int]:
    """What reading files costs."""
    return {}


@dataclass(frozen=True)
class Chunk:
    """Some records in the order of their list: a page, a parent's, or a piece of a file."""

    items: Sequence[Record | Refusal] = ()
    pages: int = 0
    #: What becomes true once they are written, in the same transaction.
    places: Sequence[Place] = ()
    reads: Sequence[ParentRead] = ()
    missing: Sequence[str] = ()
    #: Digests of the items that were in quarantine.
    retried: Sequence[str] = ()
    #: How much more becomes of a byte of these than of a job's.
    weight: int = 1
    #: What a person should know of how this was read, as the reason why the run is partial.
    caveat: str | None = None


@dataclass
class SourceResult:
    """How one source fared."""

    name: str
    #: The reason it could not even begin, if so.
    error: str | None = None
    tallies: list[Tally] = field(default_factory=list)
    #: Resources that were passed over, each with the reason.
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """`success`, `partial` or `failed`."""
        if self.error is not None:
            return "failed"
        statuses = {tally.status for tally in self.tallies}
        if statuses <= {"success"}:
            return "success"
        return "failed" if statuses == {"failed"} else "partial"

    def as_json(self) -> dict[str, Any]:
        """As the contract has it."""
        errors = [tally.error for tally in self.tallies if tally.error]
        return {
            "name": self.name,
            "status": self.status,
            "error": self.error or (errors[0] if errors else None),
            "resources": {tally.resource: dict(tally.counts) for tally in self.tallies},
            "skipped": self.skipped,
        }


@dataclass
class RunResult:
    """How a run fared. `run_id` is None for a dry run, which leaves no trace."""

    mode: str
    run_id: int | None = None
    seconds: float = 0.0
    sources: list[SourceResult] = field(default_factory=list)

    @property
    def status(self) -> str:
        """`success`; `failed` where no source did its work; else `partial`."""
        statuses = {source.status for source in self.sources}
        if statuses <= {"success"}:
            return "success"
        return "failed" if statuses == {"failed"} else "partial"

    @property
    def counts(self) -> dict[str, int]:
        """The counts of all sources and resources together."""
        tallies = [tally for source in self.sources for tally in source.tallies]
        return {name: sum(tally.counts[name] for tally in tallies) for name in COUNTS}

    @property
    def error(self) -> str | None:
        """What went wrong, a line a source; None where nothing did."""
        said = [(one.name, one.as_json()["error"]) for one in self.sources]
        return "\n".join(f"{name}: {error}" for name, error in said if error) or None

    def as_json(self) -> dict[str, Any]:
        """As the contract has it."""
        return {
            "run_id": self.run_id,
            "status": self.status,
            "mode": self.mode,
            "seconds": round(self.seconds, 3),
            "sources": [source.as_json() for source in self.sources],
        }


class Run:
    """One run under the lease: feeds records to the store and keeps the tallies."""

    def __init__(self, store: Store, result: RunResult, progress: Progress) -> None:
        self.store = store
        self.result = result
        self.progress = progress

    def feed(
        self,
        resource: Resource,
        chunks: Iterable[Chunk],
        tally: Tally,
        *,
        meter: Meter = free,
        importing: bool = False,
    ) -> None:
        """Mirror a list to its end, a batch a transaction, the next pages read meanwhile.

        What was read before an error is written, then the error is logged in `tally`: other
        resources and sources go on. Raises StoreError only.
        """
        try:
            with ahead(chunks, self.store.pace.pages_ahead) as read:
                self._feed(resource, read, tally, meter, importing=importing)
        except StoreError as error:
            tally.status, tally.error = "failed", str(error)
            raise
        except EtlError as error:
            is_partial = isinstance(error, LongWait | TimeIsUp)
            tally.status, tally.error = "partial" if is_partial else "failed", str(error)
            tally.ended_by = error
            level = logging.WARNING if is_partial else logging.ERROR
            log.log(level, "%s, %s: %s", tally.source, tally.resource, error)
        else:
            # An earlier part of the same list may have left an error.
            is_partial = tally.newly_quarantined > 0 or tally.error is not None
            if tally.status != "failed":
                tally.status = "partial" if is_partial else "success"
        if not importing:
            tally.total = tally.done  # fewer may have come than were thought of
        tally.counts.update(meter())
        tally.finished_at = self.store.now()
        self.store.note(tally)
        self.progress(tally)

    def _feed(
        self,
        resource: Resource,
        chunks: Iterable[Chunk],
        tally: Tally,
        meter: Meter,
        *,
        importing: bool,
    ) -> None:
        waiting: list[Record | Refusal] = []
        alongside = Alongside()
        size = 0
        written_at = time.monotonic()

        def flush() -> None:
            nonlocal waiting, alongside, size, written_at
            batch, beside = waiting, alongside
            waiting, alongside, size = [], Alongside(), 0
            tally.counts.update(meter())
            self.store.apply(resource, batch, tally, alongside=beside, importing=importing)
            written_at = time.monotonic()
            self.progress(tally)

        try:
            for chunk in chunks:
                waiting.extend(chunk.items)
                alongside.places += chunk.places
                alongside.reads += chunk.reads
                alongside.missing += chunk.missing
                alongside.retried += chunk.retried
                size += chunk.weight * sum(len(item.payload) for item in chunk.items)
                if chunk.caveat is not None:
                    log.warning("%s, %s: %s", tally.source, tally.resource, chunk.caveat)
                    tally.error = chunk.caveat
                tally.read += len(chunk.items)
                if tally.total is not None and tally.done is not None:
                    tally.done = min(tally.done + len(chunk.reads), tally.total)
                tally.counts["pages"] += chunk.pages
                self.progress(tally)
                is_late = time.monotonic() - written_at >= BATCH_SECONDS
                pace = self.store.pace.records
                is_full = max(len(waiting), len(alongside.reads)) >= pace
                if is_full or size >= BATCH_BYTES or is_late:
                    flush()
        except StoreError:
            raise
        except EtlError:
            if waiting or alongside != Alongside():
                flush()
            raise
        flush()


@contextmanager
def run(
    engine: Engine,
    mode: str,
    command: str,
    progress: Progress,
    now: Callable[[], datetime] = utc_now,
    sources: Collection[str] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    wait: float = 0.0,
    book: Book | None = None,
) -> Iterator[Run]:
    """A run under the lease, from its first line in the log to its last.

    `sources`: those that the configuration names, where that is known. `sleep`: for the waits
    before the database is tried again. `wait`: seconds for another writer to end. `book`: the price
    book to bring the tables of prices into step with, whatever else this run is to do.

    Raises LeaseHeld where another writer is at work, StoreError where the database fails.
    """
    began = time.monotonic()
    result = RunResult(mode)
    with lease.hold(engine, command, wait=wait, sleep=sleep) as held:
        store = Store(engine, held.fence, now, sources, sleep)
        result.run_id = store.begin(mode)
        try:
            if book is not None:
                prices.bring(engine, book, store.again)
            yield Run(store, result, progress)
        except BaseException as error:
            _close_as_failed(store, result, error)
            raise
        result.seconds = time.monotonic() - began
        store.end(result.status, result.error, result.counts, result.mode)


def _close_as_failed(store: Store, result: RunResult, error: BaseException) -> None:
    """Say in the log how the run ended, if the database still listens; the next run will else."""
    if isinstance(error, EtlError):
        what = str(error)
    elif isinstance(error, KeyboardInterrupt):
        what = "interrupted"
    else:
        # Not its own words, of which nobody knows what they hold; the log has them, masked.
        what = f"ended by {type(error).__name__}; the log of that run says more"
    if isinstance(error, StoreError):
        store.tries = 1  # it was tried long enough
    try:
        for source in result.sources:
            for tally in source.tallies:
                if tally.status == "running":
                    tally.status, tally.error = "failed", what
                tally.finished_at = tally.finished_at or store.now()
                store.note(tally)
        store.end("failed", what, result.counts, result.mode)
    except StoreError as second:
        log.debug("the run could not be closed: %s", second)
