"""Help: every command explains itself, its examples are possible, and the page shows it all."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from etl.cli.group import COMMANDS, SECTIONS, ftmirror
from etl.cli.helping import COMMON, CommonOption
from tests import manual
from tests.answers import commands

EVERY = list(commands())
NAMES = [" ".join(path) for path, _ in EVERY]


def examples(command: click.Command) -> list[str]:
    """The lines of a help page's examples."""
    return [line.strip() for line in (command.epilog or "").splitlines()[1:] if "ftmirror" in line]


def calls(command: click.Command) -> list[list[str]]:
    """The words behind `ftmirror` in each of them."""
    found = []
    for line in examples(command):
        part = next(one for one in re.split(r"\s(?:>>?|\|)\s", line) if one.startswith("ftmirror "))
        found.append(shlex.split(part)[1:])
    return found


@pytest.mark.parametrize(("path", "command"), EVERY, ids=NAMES)
def test_every_command_has_an_example_of_itself_that_can_be_called(
    path: tuple[str, ...], command: click.Command
) -> None:
    found = calls(command)
    assert found
    for call in found:
        words = call
        made: click.Command = ftmirror
        context = click.Context(ftmirror)
        assert tuple(words[: len(path)]) == path
        while isinstance(made, click.Group):
            name, *words = words
            inner = made.get_command(context, name)
            assert inner is not None, name
            made = inner
        made.make_context(made.name, words, parent=context)


@pytest.mark.parametrize(("path", "command"), EVERY, ids=NAMES)
def test_every_option_says_what_it_is(path: tuple[str, ...], command: click.Command) -> None:
    for param in command.params:
        if isinstance(param, click.Option):
            said = param.help or ""
            assert said.endswith((".", ";", ")")), param.opts
            if param.multiple and not isinstance(param, CommonOption):
                assert re.search("Repeatable|several times", said), param.opts
            kind = param.get_help_record(click.Context(command))
            assert kind is not None
            assert not re.search("INTEGER|FLOAT|RANGE", kind[0]), kind[0]


@pytest.mark.parametrize(("path", "command"), EVERY, ids=NAMES)
def test_every_help_page_fits_eighty_columns(path: tuple[str, ...], command: click.Command) -> None:
    shown = manual.shown(path, command)
    assert [line for line in shown.splitlines() if len(line) > 80] == []
    assert shown.index("\nOptions:") < shown.index(f"\n{COMMON}:")


def test_every_command_stands_in_one_section_of_the_help() -> None:
    placed = [name for names in SECTIONS.values() for name in names]
    assert len(placed) == len(set(placed))
    assert set(COMMANDS) <= set(placed)


def test_the_page_of_the_command_line_is_what_is_printed() -> None:
    """`python -m tests.test_docs` writes it anew."""
    assert manual.PAGE.read_text(encoding="utf-8") == manual.page()


@pytest.mark.parametrize("words", [[], ["sync"], ["prices", "check"]], ids=" ".join)
def test_the_page_has_what_a_real_call_prints(words: list[str]) -> None:
    program = Path(sys.executable).parent / "ftmirror"
    environment = {"PATH": os.environ["PATH"], "COLUMNS": "80"}
    said = subprocess.run(
        [program, *words, "-h"], capture_output=True, text=True, env=environment, check=True
    ).stdout
    name = " ".join(["ftmirror", *words])
    assert f"```text\n$ {name} -h\n{said}```\n" in manual.page()


def test_the_page_names_every_variable_that_is_read() -> None:
    content = manual.page()
    root = Path(__file__).parents[1] / "etl"
    pattern = re.compile(r'"((?:FTMIRROR|OPENAI|AZURE_OPENAI)_[A-Z_]+)"')
    texts = [path.read_text(encoding="utf-8") for path in root.rglob("*.py")]
    names = {name for text in texts for name in pattern.findall(text)}
    assert {"FTMIRROR_DATABASE_URL", "OPENAI_API_KEY"} <= names
    assert [name for name in sorted(names) if f"`{name}`" not in content] == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["spedn"], "did you mean spend?"),
        (["prices", "chekc"], "did you mean check?"),
        (["spend", "--format", "jsno"], "(did you mean json?)"),
        (["spend", "--by", "modle"], "(did you mean model?)"),
        (["sync", "--mode", "ful"], "(did you mean full?)"),
        (["sync", "--resource", "job"], "(did you mean jobs?)"),
        (["sync", "--source", "defalut"], "(did you mean default?)"),
        (["--progress", "bra", "runs"], "(did you mean bar?)"),
        (["runs", "--limt", "3"], "Did you mean one of: '--limit'"),
        (["completion", "bsh"], "(did you mean bash?)"),
    ],
    ids=" ".join,
)
def test_a_misspelt_word_names_the_nearest(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from contextlib import chdir

    from etl.cli import main

    with chdir(tmp_path):
        assert main(["import", "/dev/null", "--quiet"]) == 0
        capsys.readouterr()
        assert main(words) == 2
    assert said in capsys.readouterr().err
