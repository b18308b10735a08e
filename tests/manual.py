"""A tool: the page of the command line, with every command's help as it is printed."""

# ruff: noqa: E501 - a row of a table is one line

from __future__ import annotations

from pathlib import Path

import click

from etl.cli.group import ftmirror
from tests.answers import commands

#: Columns of a help page in a terminal of 80 columns: click leaves two.
WIDTH = 78
PAGE = Path(__file__).parents[1] / "docs" / "cli.md"

_HEAD = """\
# The command line

Every command explains itself with `-h`, with an example; the pages are [below](#commands). The
common options stand before or after a command's name. Data goes to stdout, progress, logs and
errors to stderr, so `ftmirror spend --format csv > spend.csv` writes nothing but the figures. Every
command that reads can answer in JSON: see [json.md](json.md).

A word that is misspelt (a command, an option, one of the words of an option, a source, a resource)
is an error that names the nearest one.

## Exit codes

| code | means |
| --- | --- |
| 0 | done |
| 1 | failed; the error says why |
| 2 | wrong usage or configuration: nothing was begun |
| 3 | partial: a record was newly quarantined, a source or resource failed, or the time limit came; the next run goes on. `copy --as-it-stands`: tables may lack rows |
| 4 | another run holds the lease of this database; `--wait` waits for it |
| 5 | a check found something: `verify`, `status --max-age`, `drift`, `prices check`, `spend --check`, `db check` |
| 141 | who read the output went away, as `head` does; nothing is said of it, and what was done stays |
| 130, 143 | interrupted by SIGINT or SIGTERM; what was written stays, nothing is lost |

## Environment

| variable | means |
| --- | --- |
| `OPENAI_API_KEY`, `OPENAI_ADMIN_KEY` | the keys of the source `default`, where the configuration names no others |
| `OPENAI_BASE_URL`, `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID` | as in OpenAI's own SDK |
| `OPENAI_CUSTOM_HEADERS` | headers for every request of the source `default`, as in OpenAI's own SDK |
| `AZURE_OPENAI_API_KEY` | the key of a source of the provider `azure` that names no other |
| `FTMIRROR_DATABASE_URL` | the database, where `--database-url` does not say |
| `FTMIRROR_CONFIG` | the configuration file, where `--config` does not say |
| `FTMIRROR_ALERT_URLS` | the addresses of `--notify` |
| `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` | as everywhere |
| `NO_COLOR`, `CLICOLOR=0` | no colour on a terminal either; pipes and files never get any, whatever `FORCE_COLOR` says |
| `COLUMNS` | how wide tables may be in a pipe (80 without it) |

A file `.env` in the folder where the command is called is read too; the environment goes before it.

## Completion

`ftmirror completion bash`, `zsh` or `fish` prints what makes that shell complete commands, options
and their words, the sources of your configuration, and files; its [help](#ftmirror-completion) says
where to put it. Completing opens no database and reads no key.

## Tables and progress

Tables fit the terminal, or 80 columns in a pipe. Long text goes on below; an id or a name is never
cut in two, and keeps its line to itself where there is no room beside it. A pipe gets plain columns
without lines, colours or bars.

Long work shows how many records it has read, how many a second, and where it is known how much
there is, the share that is done and the time left: `sync` of what hangs off jobs, by how many
parents were asked; `replay` and `verify` by their records; `import` by the bytes of its files. On a
terminal that is a bar that goes when the work is done, elsewhere a line in the log every ten
seconds; `--progress bar`, `log` or `none` says which.

## Commands
"""


def shown(path: tuple[str, ...], command: click.Command) -> str:
    """A command's help, as in a terminal of 80 columns."""
    context = click.Context(ftmirror, info_name="ftmirror", terminal_width=WIDTH)
    made: click.Command = ftmirror
    for word in path:
        assert isinstance(made, click.Group)
        found = made.get_command(context, word)
        assert found is not None
        made = found
        # The options of a parent are asked for again by none.
        context = click.Context(made, parent=context, info_name=word, terminal_width=WIDTH)
    assert made is command or made.name == command.name
    context.help_option_names = ["-h", "--help"]
    return made.get_help(context)


def page() -> str:
    """The page as it would read if it were written now."""
    every = [((), ftmirror), *commands()]
    parts = [_HEAD]
    for path, command in every:
        name = " ".join(("ftmirror", *path))
        parts.append(f"### {name}\n\n```text\n$ {name} -h\n{shown(path, command).rstrip()}\n```\n")
    return "\n".join(parts)
