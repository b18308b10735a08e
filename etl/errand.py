"""What one run is to read of one list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine

from etl.api.clients import Clients
from etl.db.frontier import Frontier
from etl.deadline import Deadline
from etl.record import Origin
from etl.resource import Resource
from etl.settings import Source


@dataclass(frozen=True)
class Errand:
    """What one run is to read of one list."""

    engine: Engine
    clients: Clients
    source: Source
    resource: Resource
    #: How far the list was read before.
    frontier: Frontier
    started_at: datetime
    now: Callable[[], datetime]
    deadline: Deadline
    #: Read it from the head to its end, whatever is known of it.
    is_whole: bool
    #: Parameters that narrow the listing; with any, nothing is remembered of it but its records.
    narrowing: Sequence[tuple[str, str]] = ()
    #: Mark what the listing came without, however much that is.
    accept_missing: bool = False

    @property
    def origin(self) -> Origin:
        """Where its records come from."""
        return origin_of(self.source)


def origin_of(source: Source) -> Origin:
    """Where the records of a source come from."""
    return Origin(source.name, source.provider, source.id_space, source.project)
