"""A tool: every answer in JSON, its schema in docs/json/, and the page that shows them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from etl.cli import main
from etl.cli.group import ftmirror
from etl.db import copies, lease
from etl.db.engine import open_engine
from etl.simulator import Simulator, World

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "json.md"
SCHEMAS = ROOT / "docs" / "json"

#: Commands that answer as another one does.
SAME_AS = {"schedule": "sync"}
#: Schemas of what no command is named after.
BESIDE = {"spend-check", "error"}

_BAD = """\
{"id": "ftjob-bad", "object": "fine_tuning.job", "status": "succeeded"}
{"id": "ftjob-odd", "object": "fine_tuning.job", "created_at": 1700000000, "status": "succeeded", \
"model": "nobody-knows", "color": "blue", "trained_tokens": 1000, "finished_at": 1700003600, \
"metadata": {"team": "search"}}
"""
_SETTINGS = """\
[budget]
monthly_usd = 500
[[budget.limits]]
metadata = { team = "search" }
monthly_usd = 0.5
"""


def schema(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((SCHEMAS / f"{name}.schema.json").read_text("utf-8"))
    return found


def names() -> list[str]:
    return sorted(path.name.removesuffix(".schema.json") for path in SCHEMAS.glob("*.json"))


def problems(name: str, answer: Any) -> list[str]:
    """Why an answer is not as its schema says."""
    checker = Draft202012Validator(schema(name), format_checker=Draft202012Validator.FORMAT_CHECKER)
    return [f"{error.json_path}: {error.message}" for error in checker.iter_errors(answer)]


def commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command and subcommand, by the words that call it."""

    def walk(
        group: click.Group, path: tuple[str, ...]
    ) -> Iterator[tuple[tuple[str, ...], click.Command]]:
        with click.Context(group) as context:
            for name in group.list_commands(context):
                found = group.get_command(context, name)
                assert found is not None
                yield (*path, name), found
                if isinstance(found, click.Group):
                    yield from walk(found, (*path, name))

    yield from walk(ftmirror, ())


def answers_json(command: click.Command) -> bool:
    """Has it `--json`, or `--format json` for an answer of its own?"""
    for param in command.params:
        words = getattr(param.type, "choices", ())
        if "--json" in param.opts or ("--format" in param.opts and "json" in words):
            return True
    return False


# Real answers


def ask(*words: str) -> Any:
    """What a command answers, parsed."""
    said = StringIO()
    with redirect_stdout(said), redirect_stderr(StringIO()):
        main(["--quiet", *words])
    (line,) = said.getvalue().splitlines()
    return json.loads(line)


def answers(folder: Path) -> Iterator[tuple[str, Any]]:
    """Each schema's name with an answer: of no mirror, an empty one, a full one, and of failures.

    The first of a name is the one to be shown.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}
    world = World(1, 12)
    with Simulator(world) as simulator, chdir(folder):
        url = simulator.url
        given = {**clean, "OPENAI_API_KEY": "sk-of-this-page", "OPENAI_BASE_URL": url}
        with patch.dict(os.environ, given, clear=True):
            (folder / "saved.jsonl").write_text(_BAD)
            yield from _full(folder)
            yield from _empty("--database-url", "sqlite:///nowhere.db")
            (folder / "nothing.jsonl").write_text("")
            ask("import", "nothing.jsonl", "--json", "--database-url", "sqlite:///empty.db")
            yield from _empty("--database-url", "sqlite:///empty.db")
            yield from _held(folder)
    with chdir(folder), patch.dict(os.environ, clean, clear=True):
        # Nobody listens there any more, and there is no key.
        os.environ["OPENAI_BASE_URL"] = url
        yield "error", ask("sync", "--json")
        os.environ["OPENAI_API_KEY"] = "sk-of-this-page"
        (folder / "ftmirror.toml").write_text('[[sources]]\nname = "default"\nmax_attempts = 1\n')
        yield "sync", ask("sync", "--json")
        yield "verify", ask("verify", "--json")
        yield "check", ask("check", "--json")
        yield "status", ask("status", "--json", "--max-age", "1d")


def _full(folder: Path) -> Iterator[tuple[str, Any]]:
    yield "sync", ask("sync", "--json")
    yield "sync", ask("sync", "--dry-run", "--json")
    yield "check", ask("check", "--json")
    yield "verify", ask("verify", "--children", "2", "--json")
    yield "import", ask("import", "saved.jsonl", "--json")
    yield "verify", ask("verify", "--json")
    yield "status", ask("status", "--max-age", "26h", "--json")
    yield "runs", ask("runs", "--json")
    yield "quarantine-list", ask("quarantine", "list", "--json")
    yield "quarantine-show", ask("quarantine", "show", "1", "--json")
    yield "quarantine-retry", ask("quarantine", "retry", "--json")
    yield "drift", ask("drift", "--json")
    yield "replay", ask("replay", "--json")
    yield "prices-list", ask("prices", "list", "--json")
    yield "prices-check", ask("prices", "check", "--json")
    yield "spend", ask("spend", "--by", "month", "--by", "metadata.team", "--format", "json")
    keys = ("day", "model", "method", "project", "source", "status")
    yield "spend", ask("spend", *(f"--by={key}" for key in keys), "--format", "json")
    (folder / "ftmirror.toml").write_text(_SETTINGS)
    yield "spend-check", ask("spend", "--check", "--since", "2023-01-01", "--format", "json")
    (folder / "ftmirror.toml").unlink()
    yield "db-current", ask("db", "current", "--json")
    yield "db-history", ask("db", "history", "--json")
    yield "db-check", ask("db", "check", "--json")
    yield "version", ask("version", "--json")
    yield "schema", ask("schema", "--format", "json", "--table", "job_costs", "--table", "jobs")
    yield "schema", ask("schema", "--format", "json")
    yield "copy", ask("copy", "--to", "sqlite:///copy.db", "--json")
    yield "copy", ask("copy", "--to", "sqlite:///copy.db", "--json")
    yield "export", ask("export", "--format", "csv", "--table", "jobs", "csv", "--json")
    for form in ("jsonl", "parquet", "focus"):
        yield "export", ask("export", "--format", form, "--since", "2020-01-01", form, "--json")
    yield "export", ask("export", "--format", "ledger", "ledger", "--json")
    _cut(folder / "copy.db")
    yield "copy", ask("copy", "--as-it-stands", "--json", "--database-url", "sqlite:///copy.db")
    yield "copy", ask("import", "ledger", "--json", "--database-url", "sqlite:///again.db")


def _cut(path: Path) -> None:
    """Leave a copy as one that was cut leaves it."""
    engine = open_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        copies.take_back(connection)
    engine.dispose()


def _empty(*there: str) -> Iterator[tuple[str, Any]]:
    """What a mirror without a record, or none at all, is asked; errors where there is none."""
    is_there = "empty" in there[1]
    yield "db-current", ask("db", "current", "--json", *there)
    yield "prices-check", ask("prices", "check", "--json", *there)
    yield "check", ask("check", "--json", *there)
    for words in ("status", "runs", "quarantine list", "drift", "db check", "verify"):
        name = words.replace(" ", "-") if is_there else "error"
        yield name, ask(*words.split(), "--json", *there)
    for words in ("quarantine show 1", "status --max-age nonsense"):
        yield "error", ask(*words.split(), "--json", *there)
    yield "spend" if is_there else "error", ask("spend", "--format", "json", *there)
    if is_there:
        yield "quarantine-retry", ask("quarantine", "retry", "--json", *there)
        yield "replay", ask("replay", "--json", *there)
        yield "export", ask("export", "--format", "csv", "nothing", "--json", *there)
        yield "copy", ask("copy", "--to", "sqlite:///nothing.db", "--json", *there)


def _held(folder: Path) -> Iterator[tuple[str, Any]]:
    """What a run says while another one is at work."""
    engine = open_engine(f"sqlite:///{folder / 'ftmirror.db'}")
    with lease.hold(engine, "test"):
        yield "sync", ask("sync", "--json")
        yield "replay", ask("replay", "--json")
        yield "error", ask("quarantine", "retry", "--json")
    engine.dispose()


# The page

_HEAD = """\
# Answers in JSON

Every command that reads has `--json` (`spend` has `--format json`): one JSON value on stdout, in
one line where stdout is no terminal, and nothing else. Times are UTC, ISO 8601, and end in `Z`;
amounts that must be exact are text. The exit code is the same as without it.

Each answer has a JSON Schema (draft 2020-12) in [`docs/json/`](json/), which says what each field
is. A field is taken away or changes its meaning only with a note in the changelog; a new one may
come with any version. `schedule --json` writes an answer of `sync` for each run.

Where a command ends with an error before it could answer, the answer is an [error](#error); it
tells the same as stderr. `sync` and `replay` that did not begin or end answer in their own shape,
with `error`.

The examples are real; of each list they show the first item only.
"""


def page(example: Callable[[str], str]) -> str:
    """The page; `example` gives the text of a schema's example."""
    parts = [_HEAD]
    for name in names():
        found = schema(name)
        parts.append(
            f"## {name}\n\n{found['title']}. {found['description']}\n"
            f"Schema: [`{name}.schema.json`](json/{name}.schema.json).\n\n"
            f"```json\n{example(name)}```\n"
        )
    return "\n".join(parts)


def examples(content: str) -> dict[str, str]:
    """The examples that a page shows, by schema."""
    return dict(
        re.findall(r"^## ([\w-]+)\n.*?^```json\n(.*?)^```", content, re.MULTILINE | re.DOTALL)
    )


def shortened(value: Any) -> Any:
    """Of each list the first item."""
    if isinstance(value, dict):
        return {name: shortened(inner) for name, inner in value.items()}
    return [shortened(one) for one in value[:1]] if isinstance(value, list) else value


def shape(value: Any) -> Any:
    """What is the same from run to run: the names, and which of them are lists."""
    if isinstance(value, dict):
        return {name: shape(inner) for name, inner in value.items()}
    return [shape(one) for one in value[:1]] if isinstance(value, list) else None


def written(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def rewritten(folder: Path) -> str:
    """The page with real examples, the old ones kept where only figures and times differ."""
    shown = examples(PAGE.read_text("utf-8")) if PAGE.exists() else {}
    firsts: dict[str, Any] = {}
    for name, answer in answers(folder):
        plain = json.dumps(answer).replace(str(ROOT), "/home/you/ftmirror")
        firsts.setdefault(name, shortened(json.loads(plain)))

    def example(name: str) -> str:
        if name in shown and shape(json.loads(shown[name])) == shape(firsts[name]):
            return shown[name]
        return written(firsts[name])

    return page(example)
