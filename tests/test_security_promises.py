"""SECURITY.md and docs/reliability.md: each promise names tests, and those tests are there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from etl.cli.group import COMMANDS, LazyGroup, ftmirror
from etl.settings import load

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
RELIABILITY = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
NAMED = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")


@cache
def functions_in(file: str) -> frozenset[str]:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return frozenset(one.name for one in tree.body if isinstance(one, ast.FunctionDef))


def promises() -> list[str]:
    """The rows of the tables of promises, without their heads."""
    tables = re.findall(
        r"^\| promise \| .*\n\| ---.*\n((?:\|.*\n)+)", TEXT + RELIABILITY, re.MULTILINE
    )
    return [row for rows in tables for row in rows.splitlines()]


@pytest.mark.parametrize("row", promises(), ids=lambda row: row[2:42])
def test_each_promise_is_held_by_tests_that_are_there(row: str) -> None:
    named = NAMED.findall(row)
    assert named
    assert [one for one in named if one[1] not in functions_in(one[0])] == []


def test_every_file_that_is_named_is_there() -> None:
    for path in re.findall(r"`([\w./]+\.(?:py|txt|md))`", TEXT):
        assert (ROOT / path).is_file(), path


def block(language: str) -> str:
    """What the only block of this language says."""
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
    return str(found)


def test_the_settings_that_are_shown_can_be_loaded(tmp_path: Path) -> None:
    (tmp_path / "ftmirror.toml").write_text(block("toml"))
    (source,) = load(None, {}, cwd=tmp_path).sources
    assert source.api_key.file == Path("/run/secrets/openai")


def options(command: click.Command) -> Iterator[str]:
    """The long names of a command's options, and of those below it."""
    for parameter in command.params:
        yield from (name for name in parameter.opts if name.startswith("--"))
    if isinstance(command, LazyGroup):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from options(inner)


def test_no_option_takes_a_key() -> None:
    """Everybody on the machine can read the words of a command."""
    found = set(options(ftmirror))
    assert {"--config", "--database-url", "--jobs"} <= found
    assert len(COMMANDS) >= 10
    assert [name for name in found if re.search("key|token|secret|passw", name)] == []
