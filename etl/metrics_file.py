"""What a run tells Prometheus: a text file for the textfile collector of node_exporter.

A run has its own figures; how the mirror stands, and when it was last in step, is read from the
database. Where that does not answer, what the file said before stays in it: an alert on the last
success must not fall silent because the database did.
"""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from stat import S_IMODE, S_ISREG

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from etl import __version__
from etl.db.runs import Tally
from etl.errors import UsageError
from etl.reports import Status

log = logging.getLogger(__name__)

STATUSES = ("success", "partial", "failed", "locked")
OUTCOMES = ("created", "updated", "unchanged", "older", "missing", "quarantined")
#: Whoever collects is another user, and nothing in the file is secret.
MODE = 0o644

#: Labels (but `mirror`, which all have) and meaning of each metric that is the run's own.
RUN: Mapping[str, tuple[tuple[str, ...], str]] = {
    "ftmirror_build_info": (("version",), "Always 1; which version of ftmirror ran."),
    "ftmirror_last_run_timestamp_seconds": ((), "When the last run ended, or was refused."),
    "ftmirror_last_run_duration_seconds": ((), "How long the last run took."),
    "ftmirror_last_run_exit_code": ((), "Exit code of the last run."),
    "ftmirror_last_run_status": (("status",), "1 for the way in which the last run ended, else 0."),
    "ftmirror_last_run_records": (
        ("source", "resource", "outcome"),
        "Records that the last run read, by what became of them.",
    ),
    "ftmirror_last_run_requests": (("source", "resource"), "Requests of the last run."),
    "ftmirror_last_run_retries": (
        ("source", "resource"),
        "Requests of the last run that were tries of one that had failed.",
    ),
    "ftmirror_lease_held_by_other": ((), "1 where another writer held the mirror's lease, else 0."),
    "ftmirror_database_up": ((), "1 where the database answered after the run, else 0."),
}
#: The same of those that the database says.
MIRROR: Mapping[str, tuple[tuple[str, ...], str]] = {
    "ftmirror_last_success_timestamp_seconds": (
        ("source", "resource"),
        "When the last run began that brought this in step; 0 for never.",
    ),
    "ftmirror_records": (("source", "resource"), "Records that the mirror holds."),
    "ftmirror_missing_records": (
        ("source", "resource"),
        "Records that the mirror holds and the API no longer lists.",
    ),
    "ftmirror_quarantine_open": (
        ("source", "resource"),
        "Records in quarantine that are not resolved.",
    ),
    "ftmirror_drift_kinds": ((), "Kinds of drift seen so far."),
}


@dataclass(frozen=True)
class Outcome:
    """How a run ended."""

    #: One of STATUSES.
    status: str
    exit_code: int
    ended_at: datetime
    seconds: float
    #: What it did, as far as it came.
    tallies: Sequence[Tally] = field(default=())
    #: Did another writer hold the lease?
    is_locked_out: bool = False


def require_writable(path: Path) -> None:
    """Raise UsageError where no file could be put in this place."""
    try:
        if path.exists() and not S_ISREG(path.stat().st_mode):
            raise UsageError(f"--metrics-file {path}: that is no file")
        if not path.parent.is_dir():
            raise UsageError(f"--metrics-file {path}: there is no directory {path.parent}")
        # Whether one may write there is only sure once one did.
        handle, name = _temporary(path)
        os.close(handle)
        Path(name).unlink()
    except OSError as error:
        said = error.strerror or str(error)
        raise UsageError(f"--metrics-file {path} cannot be written: {said}") from None


def write(path: Path, outcome: Outcome, standing: Status | None) -> None:
    """Put this run in the place of the one before; the file is never half written.

    `standing`: how the mirror stands, None where the database does not say. Raises OSError.
    """
    before = _said_before(path) if standing is None else {}
    text = _text(os.fsencode(path.stem).decode(errors="replace"), outcome, standing, before)
    handle, name = _temporary(path)
    try:
        with open(handle, "wb") as file:  # noqa: PTH123 - a handle, no path
            file.write(text)
            os.fchmod(handle, _mode(path))
        Path(name).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _temporary(path: Path) -> tuple[int, str]:
    """A file beside it, whose name no collector takes."""
    return tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)


def _mode(path: Path) -> int:
    """As somebody set it, else for everybody to read."""
    try:
        return S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        return MODE


#: A metric's values by their labels.
Values = Mapping[tuple[str, ...], float]


def _text(
    mirror: str, outcome: Outcome, standing: Status | None, before: Mapping[str, Values]
) -> bytes:
    values = {**_of_run(outcome, is_up=standing is not None)}
    values |= before if standing is None else _of_mirror(standing)
    registry = CollectorRegistry()
    for name, (labels, meaning) in {**RUN, **MIRROR}.items():
        if name in values:
            gauge = Gauge(name, meaning, ("mirror", *labels), registry=registry)
            for key, value in values[name].items():
                gauge.labels(mirror, *key).set(value)
    return generate_latest(registry)


def _of_run(outcome: Outcome, *, is_up: bool) -> dict[str, Values]:
    tallies = {(one.source, one.resource): one.counts for one in outcome.tallies}
    return {
        "ftmirror_build_info": {(__version__,): 1},
        "ftmirror_last_run_timestamp_seconds": {(): outcome.ended_at.timestamp()},
        "ftmirror_last_run_duration_seconds": {(): outcome.seconds},
        "ftmirror_last_run_exit_code": {(): outcome.exit_code},
        "ftmirror_last_run_status": {(one,): one == outcome.status for one in STATUSES},
        "ftmirror_last_run_records": {
            (*pair, one): counts[one] for pair, counts in tallies.items() for one in OUTCOMES
        },
        "ftmirror_last_run_requests": {
            pair: counts["requests"] for pair, counts in tallies.items()
        },
        "ftmirror_last_run_retries": {pair: counts["retries"] for pair, counts in tallies.items()},
        "ftmirror_lease_held_by_other": {(): outcome.is_locked_out},
        "ftmirror_database_up": {(): is_up},
    }


def _of_mirror(standing: Status) -> dict[str, Values]:
    pairs = {(one.source, one.resource): one for one in standing.standings}
    return {
        # What nothing reads any more would be alerted of for ever.
        "ftmirror_last_success_timestamp_seconds": {
            pair: 0 if one.synced_at is None else one.synced_at.timestamp()
            for pair, one in pairs.items()
            if one.configured
        },
        "ftmirror_records": {pair: one.records for pair, one in pairs.items()},
        "ftmirror_missing_records": {pair: one.missing for pair, one in pairs.items()},
        "ftmirror_quarantine_open": {pair: one.quarantined for pair, one in pairs.items()},
        "ftmirror_drift_kinds": {(): standing.drift},
    }


def _said_before(path: Path) -> Mapping[str, Values]:
    """What the file says of the mirror, by the run that wrote it; nothing where it cannot be read.

    A file that no longer says when the last success was would be worse than an old one.
    """
    try:
        text = path.read_text(encoding="utf-8")
        found: dict[str, dict[tuple[str, ...], float]] = {}
        for family in text_string_to_metric_families(text):
            if family.name not in MIRROR:
                continue
            labels, _ = MIRROR[family.name]
            for sample in family.samples:
                key = tuple([sample.labels[label] for label in labels])
                found.setdefault(family.name, {})[key] = sample.value
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, IndexError) as error:
        log.warning("%s: what it said before cannot be read: %s", path, error)
        return {}
    return found
