"""Help pages in sections: a command's own options first, and the common ones at the end."""

from __future__ import annotations

from typing import Any

import click

from etl.cli.words import knowing

#: The section of the options that every command takes.
COMMON = "Common options"


class CommonOption(click.Option):
    """One of the options that every command takes, before and after its name."""


class Helpful(click.Command):
    """A command whose help is in sections, and whose options know their words."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for param in self.params:
            param.type = knowing(param)

    def get_help_option_names(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Both names, whatever the context says: click keeps what the first context made of it."""
        return ["-h", "--help"]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The command's own options, then those of every command."""
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            is_own = not (isinstance(param, CommonOption) or param.name == "help")
            # An argument stands in the usage, and the text says what it is.
            if isinstance(param, click.Argument):
                continue
            if (record := param.get_help_record(ctx)) is not None:
                (own if is_own else common).append(record)
        # One width for both, so that the page reads as one.
        for title, rows in (("Options", own), (COMMON, common)):
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
