"""What a person, and what a script, sees of a failure: lines on stderr and an exit code."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click

from etl.cli import output
from etl.cli.options import Context, Given, Interrupted, Unread
from etl.errors import ConfigError, EtlError, LeaseHeld, UsageError

FAILED, WRONG_USAGE, LEASE_HELD, INTERRUPTED, TERMINATED = 1, 2, 4, 130, 143
#: Who read stdout went away: what a shell says of a program that SIGPIPE ended.
UNREAD = 141

#: A cause is one line on the screen; -vv shows the whole.
_LONGEST_CAUSE = 300


class Terminated(KeyboardInterrupt):
    """SIGTERM came. A KeyboardInterrupt, so that whoever cleans up after ^C does so here too."""


@dataclass(frozen=True)
class Failure:
    """What is to be told about an exception."""

    code: int
    kind: str
    #: One line each.
    errors: list[str]
    because: list[str] = field(default_factory=list)
    hint: str = ""
    #: For -vv; for a bug, always.
    trace: str = ""
    is_bug: bool = False


def run(call: Callable[[Given], object], args: Sequence[str]) -> int:
    """Call with fresh options, report what goes wrong, and return the exit code.

    `call` returns its exit code, or something else for 0.
    """
    given = Given()
    output.answers.given = False
    _never_stumble_over_characters()
    try:
        with _others_told(given), _sigterm_raises():
            answer = call(given)
            sys.stdout.flush()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except (BrokenPipeError, Unread):
        _forget_stdout()
        return UNREAD
    # The one place where everything is caught: what is not expected is reported as a bug.
    except BaseException as error:  # noqa: BLE001
        return _report(error, given, wants_json=_wants_json(args))
    return answer if isinstance(answer, int) else 0


def _report(error: BaseException, given: Given, *, wants_json: bool = False) -> int:
    """Tell of an exception, and return the exit code."""
    code = FAILED
    try:
        failure = _failure(error)
        code = failure.code
        _tell(failure, given.context(), wants_json=wants_json)
    # What goes wrong in here must not make Python print both errors as they are, secrets and all.
    except Exception as second:  # noqa: BLE001
        names = f"{type(error).__name__}, which could not be told: {type(second).__name__}"
        with suppress(OSError):
            sys.stderr.write(f"error: {names}\n")
    return code


def code_of(error: BaseException) -> int:
    """The exit code with which a command ends that raises this."""
    return _failure(error).code


def _failure(error: BaseException) -> Failure:
    if isinstance(error, Interrupted):
        error = error.args[0]
    if isinstance(error, click.Abort | KeyboardInterrupt):
        # click turns a KeyboardInterrupt into an Abort, and keeps it as the cause.
        if isinstance(error, Terminated) or isinstance(error.__cause__, Terminated):
            return Failure(TERMINATED, "Terminated", ["ended by SIGTERM"])
        return Failure(INTERRUPTED, "Interrupted", ["interrupted"])
    if isinstance(error, click.ClickException):
        return _misuse(error)
    kind = type(error).__name__
    because = _causes(error)
    trace = "".join(traceback.format_exception(error))
    if isinstance(error, EtlError):
        lines = error.problems if isinstance(error, ConfigError) else [str(error)]
        return Failure(_code(error), kind, lines, because, trace=trace)
    if isinstance(error, OSError):
        # A full disk or a file that may not be written is no bug of ours.
        code = UNREAD if isinstance(error, BrokenPipeError) else FAILED
        return Failure(code, kind, [str(error)], because, trace=trace)
    hint = "this is a bug in ftmirror; please report it with the lines above"
    return Failure(FAILED, kind, [f"{kind}: {error}"], because, hint, trace, is_bug=True)


def _misuse(error: click.ClickException) -> Failure:
    if not isinstance(error, click.UsageError):
        return Failure(error.exit_code, type(error).__name__, [error.format_message()])
    help_for = error.ctx.command_path if error.ctx else "ftmirror"
    hint = f"see `{help_for} -h`"
    return Failure(WRONG_USAGE, "UsageError", [error.format_message()], hint=hint)


def _code(error: EtlError) -> int:
    if isinstance(error, UsageError):
        return WRONG_USAGE
    return LEASE_HELD if isinstance(error, LeaseHeld) else FAILED


def _causes(error: BaseException) -> list[str]:
    """The chain of `raise … from …`, a line each."""
    lines: list[str] = []
    seen = {id(error)}
    cause = error.__cause__
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        text = " ".join(str(cause).split()) or type(cause).__name__
        if text not in " ".join(str(error).split()):  # what was said is not said again
            lines.append(text)
        cause = cause.__cause__
    return lines


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_CAUSE else f"{text[:_LONGEST_CAUSE]}…"


def _tell(failure: Failure, context: Context, *, wants_json: bool) -> None:
    from etl.cli import logs

    # Masked before it is cut: the begin of a secret would not look like one.
    failure = replace(failure, because=[_short(context.mask(line)) for line in failure.because])
    trace = failure.trace if failure.is_bug or context.verbosity >= 2 else ""
    handler = logs.handler(context.log_format, context.mask)
    safe = logs.Safe(context.mask)
    # Nobody is left to tell if stderr is gone too.
    with suppress(OSError):
        if context.log_format == "json":
            _log(handler, failure, trace)
        else:
            lines = [*(f"error: {line}" for line in failure.errors)]
            lines += [f"because: {line}" for line in failure.because]
            lines += [f"hint: {failure.hint}"] if failure.hint else []
            text = safe.text("\n".join(_one_line(line) for line in lines))
            sys.stderr.write(safe.text(trace) + text + "\n")
            sys.stderr.flush()
    if wants_json and not output.answers.given:
        answer: dict[str, object] = {
            "error": context.mask("\n".join(failure.errors)),
            "kind": failure.kind,
        }
        if failure.because:
            answer["because"] = failure.because
        try:
            output.json(answer)
            sys.stdout.flush()
        except OSError:
            _forget_stdout()


def _one_line(text: str) -> str:
    return " ".join(line.strip() for line in text.splitlines())


def _log(handler: logging.Handler, failure: Failure, trace: str) -> None:
    message = "\n".join(failure.errors)
    record = logging.LogRecord("etl.cli", logging.ERROR, "", 0, message, None, None)
    record.exc_text = trace or None
    extra: dict[str, object] = {"kind": failure.kind}
    if failure.because:
        extra["because"] = failure.because
    if failure.hint:
        extra["hint"] = failure.hint
    vars(record).update(extra)
    handler.handle(record)


def _wants_json(args: Sequence[str]) -> bool:
    """Whether a JSON answer was asked for; told from the words, as they may not even parse."""
    words = list(args)
    words = words[: words.index("--")] if "--" in words else words
    is_form = ("--format", "json") in pairwise(words)
    return "--json" in words or "--format=json" in words or is_form


def _never_stumble_over_characters() -> None:
    """A name in Greek must not crash a command whose terminal or cron job speaks ASCII.

    Nor must a stream that was closed before the start (`>&-`), which Python leaves as None.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - until the end
            setattr(sys, name, nowhere)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")


def _forget_stdout() -> None:
    """Let what is still buffered go nowhere, or Python would complain at its end."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


@contextmanager
def _others_told(given: Given) -> Iterator[None]:
    """Tell of what ends a thread or a finaliser as of any bug; Python would print it unmasked."""

    def of_thread(end: threading.ExceptHookArgs) -> None:
        if end.exc_value is not None and not isinstance(end.exc_value, SystemExit):
            _report(end.exc_value, given)

    def of_finaliser(end: sys.UnraisableHookArgs) -> None:
        if end.exc_value is not None:
            _report(end.exc_value, given)

    before = threading.excepthook, sys.unraisablehook
    threading.excepthook, sys.unraisablehook = of_thread, of_finaliser
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = before


@contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Make SIGTERM an exception in the main thread; a second one kills at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
