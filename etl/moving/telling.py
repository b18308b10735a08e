"""Which of two databases an error is of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine

from etl.db.engine import shown
from etl.errors import EtlError, LeaseHeld, LeaseLost, StoreError, UsageError


@contextmanager
def telling(engine: Engine) -> Iterator[None]:
    """Say in an error of the block which database it is of; one that says so already stays."""
    try:
        yield
    except (StoreError, UsageError) as error:
        where = shown(engine.url)
        if getattr(error, "__notes__", None) or where in str(error):
            raise
        told = _told(error, f"{str(error).rstrip('.')} ({where})")
        told.add_note(where)
        raise told from None


def _told(error: StoreError | UsageError, said: str) -> EtlError:
    if isinstance(error, LeaseHeld):
        return LeaseHeld(said, holder=error.holder)
    if isinstance(error, LeaseLost):
        return LeaseLost(said)
    return UsageError(said) if isinstance(error, UsageError) else StoreError(said)
