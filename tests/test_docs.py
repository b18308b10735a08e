"""The documents cannot lie: what they show is run, and compared.

`console` blocks of a document are run in order, as one shell session, those of the README first and
all in one folder; `sql` blocks on each kind of database, with their answer in the `text` block
below; `toml` blocks are loaded; `sh` and `cron` lines, which need a real key or server, are at
least parsed. The data dictionary is made of what is declared and of what its examples really
answer, the pages of the command line (tests/manual.py) and of answers in JSON (tests/answers.py) of
what is printed. `python -m tests.test_docs` writes all of them.
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

from etl import dictionary
from etl.cli import main
from etl.cli.group import COMMANDS, LazyGroup, ftmirror
from etl.db import migrate, views
from etl.db.engine import open_engine
from etl.dictionary import markdown
from etl.settings import load
from etl.simulator import Simulator, World
from tests import answers as answers_in_json
from tests import manual
from tests.dear import servers_when_long

ROOT = Path(__file__).parents[1]
#: With `console` blocks, in the order in which they are run.
SHOWN = ("README.md", "docs/spend.md", "docs/sync.md", "docs/configuration.md")
#: With `sql` blocks, asked of the demo's mirror.
ASKED = ("README.md", "docs/questions.md")
DICTIONARY = "docs/data-dictionary.md"
DOCUMENTS = (
    *SHOWN,
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "config/datasette/README.md",
    "config/dbt/README.md",
    "docs/bi.md",
    "docs/cli.md",
    "docs/containers.md",
    "docs/json.md",
    "docs/export.md",
    "docs/monitoring.md",
    "docs/questions.md",
    "docs/moving.md",
    "docs/reliability.md",
    "docs/roles.md",
    DICTIONARY,
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


TEXTS = {name: (ROOT / name).read_text(encoding="utf-8") for name in DOCUMENTS}
BLOCKS = {name: fenced(content) for name, content in TEXTS.items()}
README = TEXTS["README.md"]


def blocks(name: str, *languages: str) -> list[Block]:
    return [block for block in BLOCKS[name] if block.language in languages]


def of_all(*languages: str) -> list[Block]:
    return [block for name in SHOWN for block in blocks(name, *languages)]


def test_there_is_something_of_each_kind() -> None:
    """Or the fences changed, and the tests below hold nothing true."""
    for name in SHOWN:
        known = {"console", "sql", "text", "toml", "sh", "cron"}
        assert {block.language for block in BLOCKS[name]} <= known
    assert {block.language for block in of_all(*known)} == known


# Sessions


def commands(body: str) -> list[str]:
    return [line.removeprefix("$ ") for line in body.splitlines() if line.startswith("$ ")]


def session(name: str, url: str, folder: Path) -> list[str]:
    """What each command of a document prints, run one after the other in one shell."""
    mark = "===next command==="
    lines = []
    for command in (one for block in blocks(name, "console") for one in commands(block.body)):
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


def printed(folder: Path) -> dict[str, dict[Block, str]]:
    """Each console block as it would read if the documents were written now."""
    (folder / "tests").symlink_to(ROOT / "tests")
    found: dict[str, dict[Block, str]] = {}
    with Simulator(World(1, 300)) as simulator:
        for name in SHOWN:
            answers = iter(session(name, simulator.url, folder))
            found[name] = {
                block: "".join(f"$ {one}\n{next(answers)}" for one in commands(block.body))
                for block in blocks(name, "console")
            }
    return found


def still(shown: str) -> str:
    """Without what differs from run to run: times, durations, and how far a slow run is."""
    shown = re.sub(r"^\S+, \w+: [\d,]+ records so far.*\n", "", shown, flags=re.MULTILINE)
    shown = re.sub(r"\d{4}-\d\d-\d\d( at)? \d\d:\d\d:\d\d", "<time>", shown)
    return re.sub(r"\b\d+(\.\d+)? s\b *", "<duration> ", shown)


def test_sessions_print_what_the_documents_show(tmp_path: Path) -> None:
    for name, found in printed(tmp_path).items():
        assert {name: [still(one.body) for one in found]} == {
            name: [still(one) for one in found.values()]
        }


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


def answers(name: str, url: str) -> Iterator[tuple[Block, str]]:
    """Each block of an answer with what is answered now; `url` is the demo's mirror."""
    # What the page of questions imports on the way, it imports after the demo.
    for block, following in pairwise(BLOCKS[name]):
        if block.language == "sh" and name == "docs/questions.md":
            for command in block.body.splitlines():
                run(command, url)
        elif block.language == "sql":
            yield following, answer(url, block.body)


def run(command: str, url: str) -> None:
    """Do this to the mirror; its files are those of the checkout."""
    words = shlex.split(command)[1:]
    call = [str(ROOT / word) if word.startswith("tests/") else word for word in words]
    assert main([*call, "--quiet", "--database-url", url]) == 0


def examples(url: str) -> dict[str, str]:
    """What the example of each view answers, in the order of the dictionary.

    `url` is the demo's mirror; what an example needs beside the demo is imported on the way.
    """
    found = {}
    for view in dictionary.build().views:
        for command in view.before:
            run(command, url)
        found[view.name] = answer(url, view.sql)
    return found


def shown_examples() -> dict[str, str]:
    """The answer that the dictionary shows for each view."""
    parts = re.split(r"^### `(\w+)`\n\n", TEXTS[DICTIONARY], flags=re.MULTILINE)[1:]
    found = {}
    for name, part in zip(parts[::2], parts[1::2], strict=True):
        (found[name],) = (block.body for block in fenced(part) if block.language == "text")
    return found


@servers_when_long
def test_queries_answer_alike_on_every_database(empty_database: str) -> None:
    engine = open_engine(empty_database)
    migrate.upgrade(engine)
    engine.dispose()
    assert main(["demo", "--database-url", empty_database]) == 0
    for name in ASKED:
        count = len(blocks(name, "text"))
        assert [shown.language for _, shown in answered(BLOCKS[name])] == ["text"] * count
    said = said_of(empty_database)
    assert said.pop(DICTIONARY) == shown_examples()
    assert said == {
        name: {shown: shown.body for _, shown in answered(BLOCKS[name])} for name in ASKED
    }


def said_of(url: str) -> dict[str, dict[Any, str]]:
    """What each document asks the demo's mirror is answered now; imports add up on the way."""
    readme, questions = ASKED
    return {
        readme: dict(answers(readme, url)),
        DICTIONARY: dict(examples(url)),
        questions: dict(answers(questions, url)),
    }


def test_the_data_dictionary_is_what_is_declared_now() -> None:
    """`.venv/bin/python -m tests.test_docs` writes it anew."""
    assert markdown.render(dictionary.build(), shown_examples()) == TEXTS[DICTIONARY]


# Settings and commands


@pytest.mark.parametrize("body", [block.body for block in of_all("toml")])
def test_configurations_load(body: str, tmp_path: Path) -> None:
    (tmp_path / "ftmirror.toml").write_text(body, encoding="utf-8")
    settings = load(None, {}, cwd=tmp_path)
    assert len(settings.sources) == max(body.count("[[sources]]"), 1)


def test_the_file_of_all_settings_loads_and_is_where_the_readme_says() -> None:
    assert "(../config/ftmirror.toml)" in TEXTS["docs/configuration.md"]
    assert load(ROOT / "config" / "ftmirror.toml", {}, cwd=ROOT).sources


def calls() -> list[list[str]]:
    """The words of every call of ftmirror in a block that is not run."""
    found = []
    for block in of_all("sh", "cron"):
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
        assert set(re.findall(r"`(?:ftmirror db )?([\w-]+)`", line)) == set(
            db.list_commands(context)
        )


def test_every_view_is_in_the_table_of_views() -> None:
    section = README.partition("\n## Tables and views")[2].partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == views.names()


def test_every_make_target_explains_itself_and_those_that_are_named_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony
    assert targets == set(phony[1].split())
    for document in DOCUMENTS:
        named = re.findall(r"`make ([a-z]+)", TEXTS[document])
        assert set(named) <= targets


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_a_document_names_are_there(document: str) -> None:
    content = TEXTS[document]
    folder = (ROOT / document).parent
    links = re.findall(r"\]\((?!https?://)([^)#]+)\)", content)
    paths = re.findall(r"`((?:etl|tests|tools|config|migrations)/[\w./]*)`", content)
    for path in [*(folder / link for link in links), *(ROOT / path for path in paths)]:
        assert path.exists(), path


def anchors(content: str) -> set[str]:
    """What the headings of a document are called in links, as code hosts do it."""
    outside = re.sub(r"^```.*?^```$", "", content, flags=re.MULTILINE | re.DOTALL)
    found = re.findall(r"^#+ (.*)$", outside, re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", one.lower().strip()) for one in found)
    return {one.replace(" ", "-") for one in plain}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_headings_that_a_document_names_are_there(document: str) -> None:
    folder = (ROOT / document).parent
    for path, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", TEXTS[document]):
        target = (folder / path if path else ROOT / document).read_text(encoding="utf-8")
        assert anchor in anchors(target), f"{path}#{anchor}"


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
    everything = pinned(
        "alerts", "dev", "lake", "metrics", "mysql", "postgres", "report", "test-pg"
    )
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
    call = [sys.executable, str(ROOT / "tools" / "pinned.py"), "pond"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: no extra 'pond'; known: ")


def rewrite() -> None:
    """Put what is really printed into the documents, where it differs in more than times."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        new = printed(folder)
        url = f"sqlite:///{folder / 'ftmirror-demo.db'}"
        said = said_of(url)
        page = markdown.render(dictionary.build(), said.pop(DICTIONARY))
        for document, found in said.items():
            new.setdefault(document, {}).update(found)
    for document, found in new.items():
        content = TEXTS[document]
        for block in reversed(BLOCKS[document]):
            if block in found and still(found[block]) != still(block.body):
                content = content[: block.start] + found[block] + content[block.end :]
        (ROOT / document).write_text(content, encoding="utf-8")
    (ROOT / DICTIONARY).write_text(page, encoding="utf-8")
    manual.PAGE.write_text(manual.page(), encoding="utf-8")
    with tempfile.TemporaryDirectory() as name:
        answers_in_json.PAGE.write_text(answers_in_json.rewritten(Path(name)), encoding="utf-8")


if __name__ == "__main__":
    rewrite()
