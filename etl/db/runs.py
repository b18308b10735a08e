"""The log of runs: one line a run, one line for each resource of each source in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, update

from etl.db.tables import COUNTS, sync_resource_runs, sync_runs
from etl.db.upsert import upsert
from etl.errors import EtlError

#: Counts, newly quarantined and doubtful lists of a tally.
TallyState = tuple[dict[str, int], int, frozenset[str]]


@dataclass
class Tally:
    """How one resource of one source fared in a run, so far."""

    source: str
    resource: str
    started_at: datetime
    #: False where only some of the records were asked for.
    is_whole: bool = True
    status: str = "running"
    error: str | None = None
    finished_at: datetime | None = None
    #: What cut it short, if anything did.
    ended_by: EtlError | None = None
    #: Records read so far, written or not: what a progress bar shows.
    read: int = 0
    #: How much there is to do, where that is known, and how much of it is done (None: as much as
    #: was read): records, parents to be asked, or bytes of files. Progress shows it, and no more.
    total: int | None = None
    done: int | None = None
    #: Records refused for the first time: what makes a run partial.
    newly_quarantined: int = 0
    #: The lists (of which parent; '' for its own) that brought such a record: they do not count as
    #: read in this run, so the next one asks again, and finds it mended or takes it for lasting.
    doubtful: set[str] = field(default_factory=set)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    def state(self) -> TallyState:
        """What a batch adds to, as it is now."""
        return dict(self.counts), self.newly_quarantined, frozenset(self.doubtful)

    def become(self, state: TallyState) -> None:
        """Go back to such a state, or on to it."""
        self.counts, self.newly_quarantined = dict(state[0]), state[1]
        self.doubtful = set(state[2])

    def add(self, counts: Mapping[str, int]) -> None:
        """Add the counts of one batch."""
        for name, count in counts.items():
            self.counts[name] += count


def begin(connection: Connection, mode: str, now: datetime, *, may_be_there: bool = False) -> int:
    """Log that a run begins; its number. Runs that never ended are closed as failed.

    Only the holder of the lease calls this, so a run that still says `running` was killed.
    `may_be_there`: or it is this one, of whose commit nobody heard.
    """
    if may_be_there:
        same = select(sync_runs.c.id).where(
            sync_runs.c.status == "running", sync_runs.c.mode == mode, sync_runs.c.started_at == now
        )
        this = connection.scalar(same)
        if this is not None:
            return int(this)
    cut = {"status": "failed", "error": "the run was cut off", "finished_at": now}
    for table in (sync_runs, sync_resource_runs):
        connection.execute(update(table).where(table.c.status == "running").values(cut))
    line = {"started_at": now, "status": "running", "mode": mode, **dict.fromkeys(COUNTS, 0)}
    inserted = connection.execute(insert(sync_runs).values(line))
    assert inserted.inserted_primary_key is not None  # noqa: S101 - an INSERT of one row has one
    run_id: int = inserted.inserted_primary_key[0]
    return run_id


def note(connection: Connection, run_id: int, tally: Tally) -> None:
    """Write how a resource stands, in the transaction of the batch that brought it there."""
    line = {
        "run_id": run_id,
        "source": tally.source,
        "resource": tally.resource,
        "started_at": tally.started_at,
        "finished_at": tally.finished_at,
        "status": tally.status,
        "is_whole": tally.is_whole,
        "error": tally.error,
        **tally.counts,
    }
    connection.execute(upsert(connection.dialect.name, sync_resource_runs), line)


def is_noted(connection: Connection, run_id: int, tally: Tally, state: TallyState) -> bool:
    """Does the log say that a batch was written which brought a tally to this state?

    A batch that counts nothing leaves no such trace, and does no harm when it is written twice.
    """
    if state[0] == tally.counts:
        return False
    line = connection.execute(
        select(*(sync_resource_runs.c[name] for name in COUNTS)).where(
            sync_resource_runs.c.run_id == run_id,
            sync_resource_runs.c.source == tally.source,
            sync_resource_runs.c.resource == tally.resource,
        )
    ).one_or_none()
    return line is not None and dict(line._mapping) == state[0]  # noqa: SLF001 - a public name


def end(
    connection: Connection,
    run_id: int,
    status: str,
    error: str | None,
    counts: Mapping[str, int],
    mode: str,
    now: datetime,
) -> None:
    """Log how a run ended, and what kind it turned out to be."""
    connection.execute(
        update(sync_runs)
        .where(sync_runs.c.id == run_id)
        .values(status=status, error=error, mode=mode, finished_at=now, **counts)
    )


def latest(connection: Connection, limit: int) -> list[dict[str, Any]]:
    """The latest runs, newest first."""
    found = connection.execute(select(sync_runs).order_by(sync_runs.c.id.desc()).limit(limit))
    return [dict(line._mapping) for line in found]  # noqa: SLF001 - SQLAlchemy's public name
