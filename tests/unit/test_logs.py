"""Logs: short lines or JSON lines, and never a secret."""

from __future__ import annotations

import io
import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from etl.cli.logs import handler, logging_to_stderr
from etl.cli.masking import Mask


@contextmanager
def writer(log_format: str, mask: Mask) -> Iterator[tuple[logging.Logger, io.StringIO]]:
    stream = io.StringIO()
    logger, made = logging.getLogger("etl.test"), handler(log_format, mask, stream)
    logger.setLevel(logging.DEBUG)
    logger.addHandler(made)
    yield logger, stream
    logger.removeHandler(made)


@pytest.fixture
def mask() -> Mask:
    made = Mask()
    made.hide("hunter22-long")
    return made


def text(mask: Mask, level: str, message: object, *args: object, **more: Any) -> str:
    with writer("text", mask) as (logger, stream):
        logger.log(getattr(logging, level), message, *args, **more)
    return stream.getvalue()


def line(mask: Mask, level: str, message: object, *args: object, **more: Any) -> dict[str, Any]:
    with writer("json", mask) as (logger, stream):
        logger.log(getattr(logging, level), message, *args, **more)
    (only,) = stream.getvalue().splitlines()
    parsed: dict[str, Any] = json.loads(only)
    return parsed


@pytest.fixture
def quiet_after() -> Iterator[None]:
    before = logging.getLogger().level, list(logging.getLogger().handlers)
    yield
    assert (logging.getLogger().level, logging.getLogger().handlers) == before


def test_people_read_the_level_unless_it_is_information(mask: Mask) -> None:
    assert text(mask, "WARNING", "%d jobs vanished", 3) == "warning: 3 jobs vanished\n"
    assert text(mask, "ERROR", "no") == "error: no\n"
    assert text(mask, "INFO", "read 10 pages") == "read 10 pages\n"


def test_machines_read_one_object_a_line(mask: Mask) -> None:
    said = line(mask, "WARNING", "%d jobs\nvanished", 3, extra={"source": "a", "count": 3})
    time = said.pop("time")
    assert said == {
        "level": "warning",
        "logger": "etl.test",
        "message": r"3 jobs\nvanished",
        "source": "a",
        "count": 3,
    }
    assert time.endswith("Z")
    assert time[10] == "T"


def test_extras_of_any_kind_become_json(mask: Mask) -> None:
    said = line(mask, "INFO", "x", extra={"a": {"b": [1, None, object]}, "c": {2.5}})
    assert said["a"] == {"b": [1, None, "<class 'object'>"]}
    assert said["c"] == [2.5]


def test_an_extra_cannot_replace_what_every_line_has(mask: Mask) -> None:
    assert line(mask, "INFO", "x", extra={"level": "fake", "time": "fake"})["level"] == "info"


@pytest.mark.parametrize(
    ("said", "masked"),
    [
        ("key hunter22-long here", "key *** here"),
        ("sk-proj-abc_DEF-123456", "sk-***"),
        ("Authorization: Bearer abcdef.ghijkl", "Authorization: Bearer ***"),
        ("{'Authorization': 'Basic dXNlcjpwYXNz'}", "{'Authorization': 'Basic ***'}"),
        ("api-key: 0123456789abcdef", "api-key: ***"),
        ('{"api_key": "0123456789abcdef"}', '{"api_key": "***"}'),
        ("GET /v1?api_key=0123456789&a=b", "GET /v1?api_key=***&a=b"),
        ("postgresql://me:p@ss:word@db/x", "postgresql://me:***@db/x"),
        ("task-force, risk-averse and sk-ip", "task-force, risk-averse and sk-ip"),
        ("api_key: unknown key", "api_key: unknown key"),
        ("http://127.0.0.1:8000/v1 is up", "http://127.0.0.1:8000/v1 is up"),
    ],
)
def test_secrets_and_what_looks_like_one_are_masked(mask: Mask, said: str, masked: str) -> None:
    assert mask(said) == masked
    assert text(mask, "INFO", "%s", said) == f"{masked}\n"
    assert line(mask, "INFO", "x", extra={"said": [said]})["said"] == [masked]


def test_a_secret_with_quotes_is_masked_in_json_too() -> None:
    mask = Mask()
    mask.hide('pass"word\\')
    assert line(mask, "INFO", 'is pass"word\\ now')["message"] == "is *** now"


def test_a_secret_read_later_is_masked_from_then_on() -> None:
    mask, secrets = Mask(), list[str]()
    mask.ask(lambda: secrets)
    assert mask("late-secret") == "late-secret"
    secrets.append("late-secret")
    assert mask("late-secret") == "***"


def test_a_secret_that_begins_with_another_is_masked_whole() -> None:
    mask = Mask()
    mask.hide("secret", "secret-and-more")
    assert mask("secret-and-more") == "***"


def test_a_short_secret_does_not_eat_ordinary_text() -> None:
    mask = Mask()
    mask.hide("", "a")
    assert mask("a banana") == "a banana"


def failing(message: str) -> None:
    raise ValueError(message)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_traceback_is_masked(mask: Mask, log_format: str) -> None:
    with writer(log_format, mask) as (logger, stream):
        try:
            failing("hunter22-long sk-abcdefghijk \x1b[2J")
        except ValueError:
            logger.exception("refused hunter22-long")
    said = stream.getvalue()
    assert "Traceback" in said
    assert "ValueError: *** sk-***" in said
    assert "hunter22" not in said
    assert "\x1b" not in said


def test_a_line_cannot_be_faked_nor_the_terminal_steered(mask: Mask) -> None:
    said = text(mask, "INFO", "model %s", "a\nerror: fake\x1b[31m\x9b\u202e\ud800")
    assert said == "model a\\nerror: fake\\x1b[31m\\x9b\\u202e\\ud800\n"


def test_a_record_that_cannot_be_formatted_is_still_masked(
    mask: Mask, capsys: pytest.CaptureFixture[str]
) -> None:
    assert text(mask, "INFO", "%d jobs", "hunter22-long") == "%d jobs ('***',)\n"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("verbosity", "said"),
    [
        (-1, ["error: ours"]),
        (0, ["ours", "warning: theirs", "error: ours"]),
        (1, ["debug: ours", "ours", "warning: theirs", "error: ours"]),
        (3, ["debug: ours", "ours", "theirs", "warning: theirs", "error: ours"]),
    ],
)
@pytest.mark.usefixtures("quiet_after")
def test_verbosity(capsys: pytest.CaptureFixture[str], verbosity: int, said: list[str]) -> None:
    ours, theirs = logging.getLogger("etl.sync"), logging.getLogger("somebody.else")
    with logging_to_stderr("text", verbosity, Mask()):
        ours.debug("ours")
        ours.info("ours")
        theirs.info("theirs")
        theirs.warning("theirs")
        ours.error("ours")
    theirs.info("after")
    captured = capsys.readouterr()
    assert captured.err.splitlines() == said
    assert captured.out == ""


@pytest.mark.usefixtures("quiet_after")
@pytest.mark.filterwarnings("always")
def test_a_python_warning_is_a_log_line(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr("json", 0, Mask()):
        warnings.warn("old habits", stacklevel=1)
    (said,) = capsys.readouterr().err.splitlines()
    assert json.loads(said)["logger"] == "py.warnings"
    assert "old habits" in json.loads(said)["message"]
