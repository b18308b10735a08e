"""What a terminal, and what a pipe, gets: colour, lines, bars, and how wide they are."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl.cli import main
from etl.simulator import Simulator, World
from tests.terminal import on_terminal

PROGRAM = str(Path(sys.executable).parent / "ftmirror")
#: What sets a colour or a weight.
_STYLE = re.compile(r"\x1b\[[0-9;]*m")
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
LONG = "compatible-server/a-model-with-a-name-of-very-many-characters-indeed-2026-08-06"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror of a job of a model with a long name, and of one that is in quarantine."""
    folder = tmp_path_factory.mktemp("terminal")
    (folder / "jobs.jsonl").write_text(
        f'{{"id": "ftjob-{"x" * 50}", "created_at": 1700000000, "status": "succeeded", '
        f'"model": "{LONG}", "trained_tokens": 5, "finished_at": 1700003600}}\n'
        f'{{"id": "ftjob-{"y" * 50}", "status": "succeeded"}}\n'
    )
    url = f"sqlite:///{folder / 'ftmirror.db'}"
    assert main(["--quiet", "import", str(folder / "jobs.jsonl"), "--database-url", url]) == 3
    return folder


def environment(**more: str) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **more}


def printed(folder: Path, *words: str, **more: str) -> str:
    with on_terminal([PROGRAM, *words], environment(**more), folder) as terminal:
        return terminal.finish()


def piped(folder: Path, *words: str, **more: str) -> str:
    return subprocess.run(
        [PROGRAM, *words],
        cwd=folder,
        env=environment(**more),
        capture_output=True,
        text=True,
        check=False,
    ).stdout


READING = ["runs", "status", "check", "prices check", "quarantine list", "spend", "prices list"]


def test_a_terminal_gets_a_bold_header_and_a_line(folder: Path) -> None:
    lines = printed(folder, "runs").splitlines()
    assert lines[0].startswith("\x1b[1mrun ")
    assert lines[0].endswith("\x1b[0m")
    assert re.fullmatch("─+", lines[1])
    assert len(lines[1]) <= 80


@pytest.mark.parametrize("refusal", [{"NO_COLOR": "1"}, {"CLICOLOR": "0"}], ids=str)
def test_a_terminal_gets_no_colour_where_it_is_refused(
    folder: Path, refusal: dict[str, str]
) -> None:
    said = printed(folder, "runs", FORCE_COLOR="1", **refusal)
    assert said.startswith("run ")
    assert not _CONTROL.search(said)


@pytest.mark.parametrize("words", READING)
def test_what_is_printed_fits_and_a_pipe_gets_plain_text(folder: Path, words: str) -> None:
    """Whatever the environment says of colours."""
    plain = piped(folder, *words.split(), FORCE_COLOR="1", CLICOLOR_FORCE="1")
    assert plain
    assert not re.search("[\x1b━─│]", plain)
    for said in (_CONTROL.sub("", printed(folder, *words.split())), plain):
        assert [line for line in said.splitlines() if len(line) > 80] == []


def test_no_name_and_no_id_is_cut_in_two(folder: Path) -> None:
    for read in (printed, piped):
        assert LONG in read(folder, "prices", "check")
        assert "ftjob-" + "y" * 50 in read(folder, "quarantine", "list")


@pytest.fixture
def slow() -> Iterator[str]:
    with Simulator(World(1, 12), latency=0.06) as simulator:
        yield simulator.url


def test_a_bar_shows_share_rate_and_time_left_and_is_gone_at_the_end(
    tmp_path: Path, slow: str
) -> None:
    given = {"OPENAI_API_KEY": "sk-of-this-test", "OPENAI_BASE_URL": slow}
    said = printed(tmp_path, "sync", "--workers", "1", **given)
    frames = [_CONTROL.sub("", one) for one in re.split(r"[\r\n]+", said)]
    assert any(
        re.search(r"events +\S+ +\d+% +[\d,]+ records +[\d,]+/s +\d+ s left", one) for one in frames
    )
    assert max(map(len, frames)) <= 80
    after = said[said.index("run 1: success") :]
    assert "jobs: 12 created" in after
    assert "records" not in after
    assert "\x1b[2K" in said  # every line of the bar is wiped


def test_a_bar_without_colour_where_that_is_refused(tmp_path: Path, slow: str) -> None:
    given = {"OPENAI_API_KEY": "sk-of-this-test", "OPENAI_BASE_URL": slow, "NO_COLOR": "1"}
    said = printed(tmp_path, "sync", "--resource", "jobs", "--resource", "events", **given)
    assert "records" in said
    assert not _STYLE.search(said)


@pytest.mark.parametrize("kind", ["none", "log"])
def test_no_bar_where_another_way_is_asked_for(tmp_path: Path, slow: str, kind: str) -> None:
    given = {"OPENAI_API_KEY": "sk-of-this-test", "OPENAI_BASE_URL": slow}
    said = printed(tmp_path, "sync", "--resource", "jobs", "--progress", kind, **given)
    assert not _CONTROL.search(said)
    assert "jobs: 12 created" in said
