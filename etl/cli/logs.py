"""Logging to stderr: short lines for people, or JSON lines for machines; never a secret."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from json import dumps
from typing import Any, TextIO

from etl.cli.masking import Mask
from etl.settings import escaped

#: What every record has; the rest is what its writer gave as `extra`.
_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class Safe(logging.Filter):
    """Masks secrets and writes out control characters, in message, extras and traceback."""

    def __init__(self, mask: Mask) -> None:
        super().__init__()
        self._mask = mask

    def filter(self, record: logging.LogRecord) -> bool:
        """Make the record safe; it always passes."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):
            # logging itself would print such a record with its arguments unmasked.
            message = f"{record.msg} {record.args!r}"
        record.msg, record.args = self._line(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self.text(record.exc_text)
        for name, value in vars(record).items():
            if name not in _ORDINARY:
                setattr(record, name, self._plain(value))
        return True

    def text(self, text: str) -> str:
        """Text of several lines, made safe."""
        return escaped(self._mask(text), keep="\n")

    def _line(self, text: str) -> str:
        return escaped(self._mask(text))

    def _plain(self, value: object) -> object:
        """The value as JSON has it, its texts made safe."""
        if value is None or isinstance(value, bool | int | float):
            return value
        if isinstance(value, Mapping):
            return {self._line(str(name)): self._plain(inner) for name, inner in value.items()}
        if isinstance(value, list | tuple | set | frozenset):
            return [self._plain(inner) for inner in value]
        return self._line(str(value))


class TextFormatter(logging.Formatter):
    """`warning: …`; information goes without a prefix."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the traceback below it where there is one."""
        level = record.levelname.lower()
        text = record.getMessage()
        if record.levelno != logging.INFO:
            text = f"{level}: {text}"
        return f"{text}\n{record.exc_text}" if record.exc_text else text


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time (UTC), level, logger, message, and the extras."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _ORDINARY:
                line.setdefault(name, value)
        if record.exc_text:
            line["traceback"] = record.exc_text
        return dumps(line, default=str)


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at that moment: a progress bar puts itself in between."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override] # the base class keeps one for good
        return sys.stderr


def handler(log_format: str, mask: Mask, stream: TextIO | None = None) -> logging.Handler:
    """What writes records to `stream` (default: stderr), as `text` or `json`."""
    made = logging.StreamHandler(stream) if stream else _Stderr()
    made.addFilter(Safe(mask))
    made.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    return made


@contextmanager
def logging_to_stderr(log_format: str, verbosity: int, mask: Mask) -> Iterator[None]:
    """Log for as long as a command runs, and leave logging as it was found.

    Verbosity: -1 errors only, 0 what people want to know, 1 details of ours, 3 everybody's.
    """
    root, ours = logging.getLogger(), logging.getLogger("etl")
    before = root.level, ours.level
    made = handler(log_format, mask)
    root.addHandler(made)
    # Other libraries' information is written for their developers, and may hold our payloads.
    others = logging.INFO if verbosity >= 3 else logging.WARNING
    root.setLevel(logging.ERROR if verbosity < 0 else others)
    ours.setLevel({-1: logging.ERROR, 0: logging.INFO}.get(verbosity, logging.DEBUG))
    # A Python warning is a log line too, or it would break the lines of JSON.
    logging.captureWarnings(capture=True)
    try:
        yield
    finally:
        logging.captureWarnings(capture=False)
        root.setLevel(before[0])
        ours.setLevel(before[1])
        root.removeHandler(made)
