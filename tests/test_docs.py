"""The README cannot lie: what it shows is run, and compared.

`console` blocks are run in order, as one shell session; `sql` blocks on each kind of database, with
their answer in the `text` block below; `toml` blocks are loaded; `sh` and `cron` lines, which need
a real key or server, are at least parsed. The same goes for the page of views. `python -m
tests.test_docs` writes what is really printed into both.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
from sqlalchemy import text

from etl.cli import main
from etl.cli.group import COMMANDS, LazyGroup, ftmirror
from etl.db import migrate, views
from etl.db.engine import open_engine
from etl.db.tables import lease_metadata, metadata
from etl.resources import discover
from etl.settings import load
from etl.simulator import Simulator, World
from tests.dear import servers_when_long

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
VIEWS = (ROOT / "docs" / "views.md").read_text(encoding="utf-8")
DOCUMENTS = (
    "README.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "docs/monitoring.md",
    "docs/moving.md",
    "docs/reliability.md",
    "docs/views.md",
)

#: Where the README pretends to be, and the port it speaks of.
FOLDER, PORT = "/home/you/ftmirror", "8080"

_FENCE = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, its text, and where the text stands in its document."""

    language: str
    body: str
    start: int
    end: int


def fenced(content: str) -> list[Block]:
    return [Block(match[1], match[2], *match.span(2)) for match in _FENCE.finditer(content)]


BLOCKS = fenced(README)
VIEW_BLOCKS = fenced(VIEWS)


def blocks(*languages: str) -> list[Block]:
    return [block for block in BLOCKS if block.language in languages]


def test_there_is_something_of_each_kind() -> None:
    """Or the fences changed, and the tests below hold nothing true."""
    assert {block.language for block in BLOCKS} == {"console", "sql", "text", "toml", "sh", "cron"}


# Sessions


def commands(body: str) -> list[str]:
    return [line.removeprefix("$ ") for line in body.splitlines() if line.startswith("$ ")]


def session(url: str, folder: Path) -> list[str]:
    """What each command of the console blocks prints, run one after the other in one shell."""
    mark = "===next command==="
    (folder / "tests").symlink_to(ROOT / "tests")
    lines = []
    for command in (one for block in blocks("console") for one in commands(block.body)):
        # The demo without the set-up, which a test that runs has behind it.
        really = command.replace("make demo", "ftmirror demo").replace(
            f":{PORT}/", f":{port(url)}/"
        )
        lines += [really, f"echo '{mark}'"]
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        # As on a terminal: what was printed first comes first.
        "PYTHONUNBUFFERED": "1",
    }
    done = subprocess.run(
        ["sh", "-c", "\n".join(lines)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    said = done.stdout.replace(str(folder.resolve()), FOLDER).replace(f":{port(url)}/", f":{PORT}/")
    return [re.sub(r" +$", "", one, flags=re.MULTILINE) for one in said.split(f"{mark}\n")]


def port(url: str) -> str:
    return str(urlsplit(url).port)


def printed(folder: Path) -> list[str]:
    """Each console block as it would read if the README were written now."""
    with Simulator(World(1, 300)) as simulator:
        answers = iter(session(simulator.url, folder))
    return [
        "".join(f"$ {command}\n{next(answers)}" for command in commands(block.body))
        for block in blocks("console")
    ]


def still(shown: str) -> str:
    """Without what differs from run to run: times, durations, and how far a slow run is."""
    shown = re.sub(r"^\S+, \w+: [\d,]+ records so far\n", "", shown, flags=re.MULTILINE)
    shown = re.sub(r"\d{4}-\d\d-\d\d( at)? \d\d:\d\d:\d\d", "<time>", shown)
    return re.sub(r"\b\d+(\.\d+)? s\b *", "<duration> ", shown)


def test_sessions_print_what_the_readme_shows(tmp_path: Path) -> None:
    shown = [block.body for block in blocks("console")]
    assert [still(one) for one in printed(tmp_path)] == [still(one) for one in shown]


# Queries


def answer(url: str, query: str) -> str:
    """The answer as `sqlite3 -header -column` shows it."""
    engine = open_engine(url)
    with engine.connect() as connection:
        found = connection.execute(text(query))
        rows = [[cell(value) for value in row] for row in found]
        names = list(found.keys())
    engine.dispose()
    widths = [max(map(len, column)) for column in zip(names, *rows, strict=True)]
    lines = [names, ["-" * width for width in widths], *rows]
    padded = ("  ".join(map(str.ljust, line, widths)) for line in lines)
    return "".join(f"{line.rstrip()}\n" for line in padded)


def cell(value: Any) -> str:
    """A value as SQLite's shell shows it, whichever database gave it."""
    if isinstance(value, Decimal):  # a sum of whole numbers, or a figure with decimals
        value = (
            int(value) if value == int(value) and value.as_tuple().exponent == 0 else float(value)
        )
    return "" if value is None else str(value)


def answered(found: list[Block]) -> list[tuple[Block, Block]]:
    """Each query with the block of its answer, which follows at once."""
    return [(query, shown) for query, shown in pairwise(found) if query.language == "sql"]


def answers(url: str) -> Iterator[tuple[Block, str]]:
    """Each block of an answer with what is answered now; `url` is the demo's mirror."""
    for query, shown in answered(BLOCKS):
        yield shown, answer(url, query.body)
    # What the page of views imports on the way, it imports after the demo.
    for block, following in pairwise(VIEW_BLOCKS):
        if block.language == "sh":
            for call in calls_in(block.body):
                assert main([*call, "--quiet", "--database-url", url]) == 0
        elif block.language == "sql":
            yield following, answer(url, block.body)


def calls_in(body: str) -> list[list[str]]:
    """The words of each line behind `ftmirror`; files are those of the checkout."""
    found = [shlex.split(line)[1:] for line in body.splitlines()]
    return [
        [str(ROOT / word) if word.startswith("tests/") else word for word in words]
        for words in found
    ]


@servers_when_long
def test_queries_answer_alike_on_every_database(empty_database: str) -> None:
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    engine.dispose()
    assert main(["demo", "--database-url", empty_database]) == 0
    for found in (BLOCKS, VIEW_BLOCKS):
        count = sum(block.language == "text" for block in found)
        assert [shown.language for _, shown in answered(found)] == ["text"] * count
    for shown, said in answers(empty_database):
        assert said == shown.body


# Settings and commands


@pytest.mark.parametrize("body", [block.body for block in blocks("toml")])
def test_configurations_load(body: str, tmp_path: Path) -> None:
    (tmp_path / "ftmirror.toml").write_text(body, encoding="utf-8")
    settings = load(None, {}, cwd=tmp_path)
    assert len(settings.sources) == max(body.count("[[sources]]"), 1)


def test_the_file_of_all_settings_loads_and_is_where_the_readme_says() -> None:
    assert "(config/ftmirror.toml)" in README
    assert load(ROOT / "config" / "ftmirror.toml", {}, cwd=ROOT).sources


def calls() -> list[list[str]]:
    """The words of every call of ftmirror in a block that is not run."""
    found = []
    for block in blocks("sh", "cron"):
        for part in re.split(r"&&|\|\||\n", block.body):
            call = shlex.split(part, comments=True)
            if call and Path(call[0]).name == "ftmirror":
                found.append([word for word in call[1:] if not re.match(r"\d?>", word)])
    return found


@pytest.mark.parametrize("call", calls(), ids=" ".join)
def test_calls_that_cannot_be_run_here_are_at_least_possible(call: list[str]) -> None:
    made: click.Command = ftmirror
    with click.Context(ftmirror) as context:
        while isinstance(made, click.Group):
            # Of the common options before a command's name, only those without a value.
            name, *call = [word for word in call if word not in ("-q", "-v")]
            found = made.get_command(context, name)
            assert found is not None, name
            made = found
        made.make_context(made.name, call, parent=context)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_table_of_commands(command: str) -> None:
    assert re.search(rf"^\| `ftmirror {command}\b", README, re.MULTILINE)


def test_every_command_of_the_schema_is_there_too() -> None:
    with click.Context(ftmirror) as context:
        db = ftmirror.get_command(context, "db")
        assert isinstance(db, LazyGroup)
        (line,) = re.findall(r"^\| `ftmirror db .*", README, re.MULTILINE)
        assert set(re.findall(r"`(?:ftmirror db )?(\w+)`", line)) == set(db.list_commands(context))


def test_every_table_is_in_the_table_of_tables() -> None:
    discover()
    section = README.partition("## Tables")[2].partition("\n## ")[0]
    firsts = " ".join(re.findall(r"^\|([^|]*)\|", section, re.MULTILINE))
    names = {*metadata.tables, *lease_metadata.tables}
    assert set(re.findall(r"`(\w+)`", firsts)) == names


def test_every_view_is_in_the_table_of_views_and_has_a_section_with_a_query() -> None:
    section = README.partition("\n## Views")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == views.names()
    parts = re.split(r"^## `(\w+)`\n\n", VIEWS, flags=re.MULTILINE)[1:]
    assert sorted(parts[::2]) == views.names()
    for name, part in zip(parts[::2], parts[1::2], strict=True):
        assert part.splitlines()[0] == views.summary(name)
        assert any(re.search(rf"\b{name}\b", block.body) for block in fenced(part))


def test_every_make_target_explains_itself_and_those_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    assert targets == set(phony[1].split())
    for document in DOCUMENTS:
        named = re.findall(r"`make ([a-z]+)", (ROOT / document).read_text(encoding="utf-8"))
        assert set(named) <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_are_there(document: str) -> None:
    content = (ROOT / document).read_text(encoding="utf-8")
    folder = (ROOT / document).parent
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", content)
    paths = re.findall(r"`((?:etl|tests|tools|config|migrations)/[\w./]*)`", content)
    for path in [*(folder / link for link in links), *(ROOT / path for path in paths)]:
        assert path.exists(), path


# What the set-up installs


def pinned(*extras: str) -> dict[str, list[str]]:
    """The hashes that would be installed for these extras, by package."""
    call = [sys.executable, str(ROOT / "tools" / "pinned.py"), *extras]
    said = subprocess.run(call, capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    for line in said.replace("\\\n", "").splitlines():
        name, *hashes = line.split("--hash=")
        found[name.partition("==")[0]] = hashes
    return found


def test_the_demo_installs_the_core_and_the_report_only_and_all_by_hash() -> None:
    core = pinned()
    everything = pinned("alerts", "dev", "metrics", "mysql", "postgres", "report", "test-pg")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "\nbuild/core.txt: extras := report\n" in makefile
    assert {"altair", "vl-convert-python"} <= set(pinned("report")) - set(core)
    assert {"alembic", "click", "sqlalchemy", "urllib3"} <= set(core)
    assert not {"pytest", "psycopg", "pymysql", "ruff", "openai"} & set(core)
    assert {"psycopg-binary", "pymysql", "pytest", "hatchling"} <= set(everything)
    assert all(everything.values())
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    assert len(everything) == len(set(re.findall(r"^([\w.-]+)==", pins, re.MULTILINE)))
    assert "://" not in pins


def test_an_extra_that_is_not_there_is_refused_by_name() -> None:
    call = [sys.executable, str(ROOT / "tools" / "pinned.py"), "lake"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no extra 'lake'; known: ")


def rewrite() -> None:
    """Put what is really printed into the documents, where it differs in more than times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        new = dict(zip(blocks("console"), printed(folder), strict=True))
        new |= dict(answers(f"sqlite:///{folder / 'ftmirror-demo.db'}"))
    for path, old, found in (("README.md", README, BLOCKS), ("docs/views.md", VIEWS, VIEW_BLOCKS)):
        content = old
        for block in reversed(found):
            if block in new and still(new[block]) != still(block.body):
                content = content[: block.start] + new[block] + content[block.end :]
        (ROOT / path).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    rewrite()
