"""Verify: one fresh listing of each source's jobs, held against the mirror. Nothing is written."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Literal

from msgspec.structs import replace
from sqlalchemy import Connection, Engine, select

from etl.api.client import Client
from etl.api.paging import pages
from etl.api.paths import fill
from etl.batch import read
from etl.comparing import Comparing, Comparison, sha256_of, together
from etl.db.engine import database_errors
from etl.db.runs import Tally
from etl.db.store import utc_now
from etl.db.tables import records
from etl.errors import ApiRefused, EtlError, StoreError
from etl.record import Origin, Record
from etl.resource import Resource
from etl.resources import discover
from etl.resources.jobs import jobs
from etl.settings import Source

log = logging.getLogger(__name__)

Verdict = Literal["equal", "differs", "partial", "failed"]

#: Called after every page, with how far its list is.
Progress = Callable[[Tally], None]

#: What an API answers where there is no such thing.
_NOT_THERE = (404, 410)


@dataclass(frozen=True)
class Proof:
    """What came of one source."""

    source: str
    #: None where the listing did not come to its end.
    jobs: Comparison | None
    #: Of the sorted ids, joined by newlines.
    sha256_listed: str | None
    sha256_mirror: str | None
    #: Jobs whose children were compared, and how their lists compare, all jobs together; an id
    #: stands behind its job's, as `ftjob-1/ftevent-2`.
    sampled: tuple[str, ...]
    children: Mapping[str, Comparison]
    #: Lists of sampled jobs that the API says are not there.
    absent: int
    requests: int
    #: Why not all could be read.
    error: str | None = None

    @property
    def compared(self) -> list[Comparison]:
        """All that was compared to its end."""
        return [*([] if self.jobs is None else [self.jobs]), *self.children.values()]

    @property
    def differences(self) -> int:
        """How many ids, children's included, are not as they should be."""
        return sum(one.differences for one in self.compared)

    @property
    def verdict(self) -> Verdict:
        """How the source stands. A difference stays one, whatever else could not be read."""
        if self.differences:
            return "differs"
        return "equal" if self.error is None else "failed"


@dataclass(frozen=True)
class Certificate:
    """What came of all sources."""

    #: When the first listing began.
    when: datetime
    #: Of the sample: the same seed over the same jobs takes the same ones.
    seed: str
    proofs: tuple[Proof, ...]

    @property
    def verdict(self) -> Verdict:
        """A difference weighs more than a source that could not be read."""
        found = {proof.verdict for proof in self.proofs}
        if "differs" in found:
            return "differs"
        if "failed" in found:
            return "failed" if found == {"failed"} else "partial"
        return "equal"

    @property
    def sentence(self) -> str:
        """The verdict in one line."""
        unread = sum(proof.error is not None for proof in self.proofs)
        rest = f"; {_many(unread, 'source')} could not be read" if unread else ""
        if differences := sum(proof.differences for proof in self.proofs):
            return f"the mirror differs from the API in {_many(differences, 'record')}{rest}"
        whole = [proof for proof in self.proofs if proof.error is None]
        if not whole:
            return "nothing was proved" + rest
        listed = sum(proof.jobs.listed for proof in whole if proof.jobs)
        said = f"the mirror holds what the API lists: {_many(listed, 'job')}"
        if children := sum(one.listed for proof in whole for one in proof.children.values()):
            said += f" and {_many(children, 'sampled child', 'sampled children')}"
        if quarantined := sum(len(one.quarantined) for proof in whole for one in proof.compared):
            said += f", {quarantined:,} of them in quarantine"
        return said + rest

    def as_json(self) -> dict[str, Any]:
        """For machines: every id."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "when": self.when,
            "seed": self.seed,
            "sources": [_as_json(proof) for proof in self.proofs],
        }


def verify(
    engine: Engine,
    sources: Iterable[Source],
    progress: Progress,
    *,
    children: int = 0,
    seed: str | None = None,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], datetime] = utc_now,
) -> Certificate:
    """Hold the mirror against the API. A source that fails never stops the others.

    `children`: of so many jobs of each source that the mirror holds, the events and checkpoints
    are compared too. `seed`: decides which; the day, where none is given.

    Raises StoreError where the database fails.
    """
    when = now()
    seed = f"{when:%Y-%m-%d}" if seed is None else seed
    proofs = [
        _Verification(engine, source, progress, now).proof(children, seed, sleep)
        for source in sources
    ]
    return Certificate(when, seed, tuple(proofs))


_COUNTS = tuple(one.name for one in fields(Comparison))


class _Verification:
    """The comparing of one source."""

    def __init__(
        self, engine: Engine, source: Source, progress: Progress, now: Callable[[], datetime]
    ) -> None:
        self._engine = engine
        self._source = source
        self._progress = progress
        self._now = now
        self._requests = 0
        #: What progress shows, by resource.
        self._tallies: dict[str, Tally] = {}
        self._sampled: list[str] = []
        self._children: dict[str, list[tuple[str, Comparing]]] = {}
        self._absent = 0

    def proof(self, children: int, seed: str, sleep: Callable[[float], None]) -> Proof:
        resource = discover()["jobs"]
        error = None
        whole: Comparing | None = None
        try:
            with self._client(sleep) as client:
                held = self._held(resource)
                self._tally(resource).total = len(held)
                listed = Comparing(resource, self._source, held)
                self._read(client, resource, resource.path, listed)
                with self._connected() as connection:
                    listed.forgive(connection)
                whole = listed
                self._sampled = listed.sample(children, seed)
                for number, job_id in enumerate(self._sampled):
                    self._read_children(client, job_id, number)
        except StoreError:
            raise
        except EtlError as problem:
            error = str(problem)
            log.error("%s: %s", self._source.name, error)  # noqa: TRY400
        return Proof(
            source=self._source.name,
            jobs=None if whole is None else whole.result(),
            sha256_listed=None if whole is None else sha256_of(whole.listed()),
            sha256_mirror=None if whole is None else sha256_of(whole.mirrored()),
            sampled=tuple(self._sampled),
            children={name: together(parts) for name, parts in self._children.items()},
            absent=self._absent,
            requests=self._requests,
            error=error,
        )

    @contextmanager
    def _client(self, sleep: Callable[[float], None]) -> Iterator[Client]:
        with Client(self._source, sleep=sleep) as client:
            try:
                yield client
            finally:
                self._requests = client.requests

    @contextmanager
    def _connected(self) -> Iterator[Connection]:
        with database_errors(), self._engine.connect() as connection:
            yield connection

    def _read(
        self,
        client: Client,
        resource: Resource,
        path: str,
        comparing: Comparing,
        job_id: str | None = None,
    ) -> None:
        source = self._source
        origin = Origin(source.name, source.provider, source.id_space, source.project)
        tally = self._tally(resource)
        for page in pages(client, path):
            items = [
                read(resource, item, origin, None, one)
                for item, one in zip(page.items, page.ids, strict=True)
            ]
            if job_id is not None:
                items = [
                    replace(item, parent_id=job_id) if isinstance(item, Record) else item
                    for item in items
                ]
            with self._connected() as connection:
                comparing.take(connection, items)
            tally.read += len(items)
            tally.counts["pages"] += 1
            self._progress(tally)

    def _tally(self, resource: Resource) -> Tally:
        if resource.name not in self._tallies:
            tally = Tally(self._source.name, resource.name, self._now(), is_whole=False)
            self._tallies[resource.name] = tally
        return self._tallies[resource.name]

    def _read_children(self, client: Client, job_id: str, number: int) -> None:
        for resource in _of_jobs():
            tally = self._tally(resource)
            tally.total, tally.done = len(self._sampled), number
            held = self._held(resource, job_id)
            comparing = Comparing(resource, self._source, held)
            parts = self._children.setdefault(resource.name, [])
            try:
                self._read(client, resource, fill(resource.path, job_id), comparing, job_id)
            except ApiRefused as error:
                if error.exchange.status not in _NOT_THERE:
                    raise
                self._absent += 1
            else:
                parts.append((job_id, comparing))

    def _held(self, resource: Resource, job_id: str | None = None) -> list[str]:
        """Ids that the mirror holds of a list, without those that it marks as missing."""
        query = select(records.c.id).where(
            records.c.resource == resource.name, records.c.missing_since.is_(None)
        )
        if job_id is None:
            query = query.where(records.c.source == self._source.name)
        else:
            # By the child's own table, which has an index for it; the ledger has none.
            table = resource.table
            assert table is not None  # noqa: S101 - `_of_jobs` sees to it
            query = query.join(table, table.c.id == records.c.id).where(table.c.job_id == job_id)
        with self._connected() as connection:
            return list(connection.scalars(query))


def _of_jobs() -> list[Resource]:
    """The lists that hang directly off a job."""
    return [
        one
        for one in discover().values()
        if one.parents is not None
        and one.table is not None
        and one.parents.reads in ("list", "growing list")
        and len(one.parents.columns) == 1
        and one.parents.columns[0] is jobs.c.id
    ]


def _as_json(proof: Proof) -> dict[str, Any]:
    return {
        "name": proof.source,
        "verdict": proof.verdict,
        "error": proof.error,
        "requests": proof.requests,
        **(asdict(proof.jobs) if proof.jobs else dict.fromkeys(_COUNTS)),
        "sha256_listed": proof.sha256_listed,
        "sha256_mirror": proof.sha256_mirror,
        "children": {
            "jobs": list(proof.sampled),
            "absent": proof.absent,
            **{name: asdict(one) for name, one in proof.children.items()},
        },
    }


def _many(count: int, one: str, several: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else several or one + 's'}"
