"""Records that may still change and were not on the pages, read again one by one."""

from __future__ import annotations

from collections.abc import Iterator

from etl.api.answers import object_of
from etl.api.client import Client
from etl.api.paths import fill
from etl.api.seen import Seen
from etl.asking import Asked, Patience, ask, path_of
from etl.batch import Refusal, read
from etl.db.progress import ParentRead, open_ids
from etl.deadline import ago
from etl.errand import Errand
from etl.errors import ApiError
from etl.gather import gather
from etl.pipe import Chunk
from etl.record import Record

#: Seconds: a row that has not changed for long is read again once in such a time.
SLOW_EVERY = 24 * 3600.0


def reread(errand: Errand, seen: Seen) -> Iterator[Chunk]:
    """Each of them that was not seen; one that cannot be read does not stop the others."""
    path, name = errand.resource.item_path, errand.resource.name
    if path is None:
        return

    def asked(client: Client, task: tuple[str, bool]) -> Asked[bytes]:
        return ask(lambda: client.read(fill(path, task[0]), object_of), errand.now)

    patience = Patience()
    for (identifier, is_slow), answer in gather(errand.clients, _waiting(errand, seen), asked):
        yield _chunk(errand, identifier, answer, is_slow=is_slow)
        try:
            patience.note(answer)
        except ApiError as error:  # the list itself can be read, so all else goes on
            yield Chunk(caveat=f"no more open {name} were read after this: {error}")
            return
    if patience.failed:
        yield Chunk(
            caveat=f"{patience.failed} open {name} could not be read; the next run asks again"
        )


def _waiting(errand: Errand, seen: Seen) -> Iterator[tuple[str, bool]]:
    """The ids, each with whether it is one of those that are read once in a while."""
    path, now = errand.resource.item_path or "", errand.now()
    found = open_ids(
        errand.engine,
        errand.resource,
        errand.source.name,
        now,
        changed_since=ago(now, errand.source.open_slow_after),
        unread_since=ago(now, SLOW_EVERY),
    )
    for identifier, is_slow in found:
        if identifier not in seen and path_of(path, identifier) is not None:
            errand.deadline.check()
            yield identifier, is_slow


def _chunk(errand: Errand, identifier: str, answer: Asked[bytes], *, is_slow: bool) -> Chunk:
    has_failed = answer.error is not None
    line = ParentRead(
        errand.resource.name,
        identifier,
        errand.source.name,
        None if has_failed else answer.at,
        is_settled=False,
        failed_at=answer.at if has_failed else None,
    )
    # Who was read last comes last where the time does not suffice for all; else nobody asks.
    lines = (line,) if is_slow or has_failed or errand.deadline.is_set else ()
    if answer.is_absent:
        return Chunk(missing=(identifier,), reads=lines)
    if answer.found is not None:
        return Chunk([_expected(errand, answer.found, identifier)], reads=lines)
    if answer.is_lasting:
        asked_for = f"GET {fill(errand.resource.item_path or '', identifier)}".encode()
        return Chunk([Refusal(asked_for, str(answer.error), identifier)], reads=lines)
    return Chunk(reads=lines)


def _expected(errand: Errand, body: bytes, identifier: str) -> Record | Refusal:
    """The record that was asked for by its id, or why the answer is not it."""
    found = read(errand.resource, body, errand.origin, errand.now())
    if isinstance(found, Record) and found.id != identifier:
        reason = f"asked for {identifier}, and this is {found.id}"
        return Refusal(body, reason, identifier, found.arrival, is_whole=False)
    return found
