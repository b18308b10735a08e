"""The command `ftmirror` and the table of its commands, each imported only when it is called."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

import click
from click.shell_completion import CompletionItem

import etl
from etl.cli.helping import Helpful
from etl.cli.options import Given, Unread, common_options, epilog

#: Name → where the command is, and the first line of its help (a test holds the two equal).
COMMANDS: dict[str, tuple[str, str]] = {
    "sync": ("etl.cli.runs:sync", "Bring the mirror in step with the API."),
    "schedule": ("etl.cli.scheduling:schedule", "Sync again and again."),
    "import": ("etl.cli.runs:import_", "Mirror what saved JSON files hold."),
    "check": ("etl.cli.standing:check", "Check settings, database and keys."),
    "status": ("etl.cli.standing:status", "Show how fresh the mirror is."),
    "runs": ("etl.cli.runs:runs", "Show past runs."),
    "spend": ("etl.cli.spending:spend", "Show what training cost."),
    "report": ("etl.cli.reporting:report", "Write one page with pictures of it all."),
    "prices": ("etl.cli.pricing:prices", "Look at the price book."),
    "export": ("etl.cli.exporting:export", "Write files that others load."),
    "verify": ("etl.cli.verifying:verify", "Prove that the mirror is complete."),
    "replay": ("etl.cli.replaying:replay", "Rebuild the typed tables from the ledger."),
    "quarantine": (
        "etl.cli.quarantine:quarantine",
        "Look at records that could not become rows, and try them again.",
    ),
    "drift": ("etl.cli.drifting:drift", "Show what this version does not know."),
    "copy": ("etl.cli.moving:copy", "Carry the whole mirror into another database."),
    "db": ("etl.cli.db:db", "Look at the schema, and move it."),
    "schema": ("etl.cli.schema:schema", "Explain tables, views and columns."),
    "simulate": ("etl.cli.trying:simulate", "Serve a fake API, for trying and testing."),
    "demo": ("etl.cli.trying:demo", "Simulate, sync and price, in one."),
    "completion": ("etl.cli.completing:completion", "Print what makes your shell complete."),
    "version": ("etl.cli.version:version", "Show which version this is."),
}

#: The sections of the help, and what stands in each; what has no section yet comes at the end.
SECTIONS: dict[str, tuple[str, ...]] = {
    "Everyday": ("sync", "schedule", "import", "check", "status", "runs"),
    "Money": ("spend", "report", "prices"),
    "Proof and repair": ("verify", "replay", "quarantine", "drift"),
    "Schema, and data elsewhere": ("schema", "db", "export", "copy"),
    "Trying, and the rest": ("demo", "simulate", "completion", "version"),
}


class LazyGroup(Helpful, click.Group):
    """A group that knows its commands by name, and imports the one that is called."""

    def __init__(
        self,
        *args: Any,
        lazy: Mapping[str, tuple[str, str]] | None = None,
        sections: Mapping[str, Sequence[str]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})
        self.sections = dict(sections or {})
        self.params += common_options()

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, report what goes wrong and exit; without `standalone_mode`, only run."""
        from etl.cli.failures import run

        def plain(given: Given | None) -> Any:
            obj = {} if given is None else {"obj": given}
            return super(LazyGroup, self).main(
                args, prog_name, complete_var, standalone_mode=False, **{**obj, **extra}
            )

        if not standalone_mode:
            return plain(None)
        sys.exit(run(plain, sys.argv[1:] if args is None else args))

    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        """Parse, which may print a help page."""
        try:
            return super().make_context(*args, **extra)
        except BrokenPipeError as error:
            raise Unread from error

    def invoke(self, ctx: click.Context) -> Any:
        """Call the command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError as error:
            raise Unread from error

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table: as one meets them, not by alphabet."""
        return [*self.lazy, *(name for name in super().list_commands(ctx) if name not in self.lazy)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command that has this name."""
        if cmd_name not in self.lazy:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = self.lazy[cmd_name][0].partition(":")
        made = getattr(import_module(module), attribute)
        if not isinstance(made, click.Command):
            raise TypeError(f"{module}:{attribute} is no command")
        return made

    def _listed(self, ctx: click.Context) -> Iterator[tuple[str, str]]:
        """The commands that are shown, and what each does, without importing them."""
        for name in self.list_commands(ctx):
            if name in self.lazy:
                yield name, self.lazy[name][1]
            elif (made := super().get_command(ctx, name)) and not made.hidden:
                yield name, made.get_short_help_str()

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands first: they are what one looks for."""
        self.format_commands(ctx, formatter)
        Helpful.format_options(self, ctx, formatter)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands, section by section."""
        rows = dict(self._listed(ctx))
        width = max(map(len, rows), default=0)
        placed = {name for names in self.sections.values() for name in names}
        rest = "Commands" if not self.sections else "More"
        for title, names in {
            **self.sections,
            rest: [one for one in rows if one not in placed],
        }.items():
            some = [(name.ljust(width), rows[name]) for name in names if name in rows]
            if some:
                with formatter.section(title):
                    formatter.write_dl(some)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The commands that begin so, none of them imported, and the options."""
        found = [
            CompletionItem(name, help=what)
            for name, what in self._listed(ctx)
            if name.startswith(incomplete)
        ]
        return [*found, *click.Command.shell_complete(self, ctx, incomplete)]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """No word at all: the help, on stderr, as a wrong call."""
        if not args and not ctx.resilient_parsing:
            click.echo(ctx.get_help(), err=True)
            ctx.exit(2)
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command; for a misspelt one an error that names the nearest."""
        name = args[0]
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing:
            known = self.list_commands(ctx)
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            raise click.UsageError(f"no such command {name!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(
    "ftmirror",
    cls=LazyGroup,
    lazy=COMMANDS,
    sections=SECTIONS,
    epilog=epilog("ftmirror sync --database-url sqlite:///history.db"),
)
@click.version_option(etl.__version__, message="ftmirror %(version)s")
def ftmirror() -> None:
    """Mirror your OpenAI fine-tuning history into a SQL database, and keep it in step."""
