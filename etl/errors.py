"""Everything that can go wrong, in one tree.

EtlError
├── UsageError               a wrong option, file or name: exit 2
│   ├── ConfigError          settings that cannot work; carries every problem found
│   └── SchemaOutOfDate      the database is not at this version's schema
├── AlertFailed              somebody should have been told of something, and was not
├── TimeIsUp                 the run's own time limit came; the next run goes on
├── RecordError              one record cannot become rows; it goes to quarantine
├── ApiError                 carries method, path, status and request id where known
│   ├── TransientApiError    worth another try (408, 409, 429, 5xx, timeout, cut connection)
│   │   └── LongWait         the server asks for more patience than one run has
│   ├── ApiRefused           will not get better by itself (401, 403, 404, quota, redirect, TLS)
│   └── ApiContractError     it answered, but not in the shape we know
│       └── SpoiltAnswer     no page, record or file at all: it may have been spoilt on its way
└── StoreError               the database refused or vanished
    ├── TransientStoreError  worth another try (lost connection, deadlock, locked file)
    ├── LeaseHeld            another writer is at work: exit 4
    └── LeaseLost            another writer took over while we worked

The docstring of a class is its message when none is given.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any


class EtlError(Exception):
    """Something in ftmirror went wrong."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or inspect.cleandoc(type(self).__doc__ or ""))

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross processes whole, whatever arguments they were made with."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[EtlError], args: tuple[Any, ...], state: dict[str, Any]) -> EtlError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


class UsageError(EtlError):
    """The command cannot be run like this."""


class ConfigError(UsageError):
    """The settings cannot work as they are."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class SchemaOutOfDate(UsageError):
    """The database is not at this version's schema. Run `ftmirror db upgrade`, then try again."""


class AlertFailed(EtlError):
    """An alert could not be sent."""


class TimeIsUp(EtlError):
    """The time limit came; the next run goes on from here."""


class RecordError(EtlError):
    """This record cannot become rows."""


@dataclass(frozen=True)
class Exchange:
    """Which request an API error belongs to, and what came back. Never holds a key."""

    #: Path below the base URL, as `/fine_tuning/jobs`; no query.
    path: str
    status: int | None = None
    #: The server's `x-request-id`, which its support asks for.
    request_id: str | None = None
    #: `error.code` of the body, where there was one.
    code: str | None = None

    def __str__(self) -> str:
        parts = [f"GET {self.path}"]
        if self.status is not None:
            parts.append(f"HTTP {self.status}")
        if self.code:
            parts.append(f"code {self.code}")
        if self.request_id:
            parts.append(f"request id {self.request_id}")
        return ", ".join(parts)


class ApiError(EtlError):
    """The API did not give what was asked for."""

    def __init__(self, message: str, exchange: Exchange) -> None:
        self.exchange = exchange
        super().__init__(f"{message} ({exchange})")


class TransientApiError(ApiError):
    """The API failed in a way that may pass."""

    def __init__(
        self,
        message: str,
        exchange: Exchange,
        *,
        retry_after: float | None = None,
        retry: bool = True,
    ) -> None:
        #: Seconds the server asked us to wait, or None.
        self.retry_after = retry_after
        #: False where the server itself said `x-should-retry: false`.
        self.retry = retry
        super().__init__(message, exchange)


class LongWait(TransientApiError):
    """The server asks for a longer wait than one run should sleep through."""


class ApiRefused(ApiError):
    """The API refused, and will do so again until somebody changes something."""


class ApiContractError(ApiError):
    """The API answered in a shape that this version does not know."""


class SpoiltAnswer(ApiContractError):
    """The answer is none that a server would give; another may be whole."""


class StoreError(EtlError):
    """The database refused the work, or went away."""


class TransientStoreError(StoreError):
    """The database failed in a way that may pass; the whole transaction can be tried again."""


class LeaseHeld(StoreError):
    """Another writer holds the lease of this database."""

    def __init__(self, message: str, *, holder: str) -> None:
        #: Who holds it, as `host, pid 42, since 2026-01-31 09:30:00 UTC`.
        self.holder = holder
        super().__init__(message)


class LeaseLost(StoreError):
    """Another writer took the lease over while this one worked; nothing more was written."""
