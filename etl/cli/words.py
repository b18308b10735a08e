"""Which words an option takes: what the shell completes, and what a misspelt one may have meant."""

from __future__ import annotations

import os
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    Type = click.ParamType[Any]
    ChoiceType = click.Choice[Any]
else:
    Type = click.ParamType
    ChoiceType = click.Choice

#: What `spend --by` sums by; a test holds it to what can be asked for.
BY = ("month", "day", "model", "method", "project", "source", "status", "metadata.")


def sources(ctx: click.Context) -> list[str]:
    """The names of the sources in the configuration that this call would read."""
    from etl.settings import load

    given = ctx.find_root().obj or {}
    # No database is opened, and no key is read.
    settings = load(given.get("config"), os.environ, cwd=Path.cwd())
    return [source.name for source in settings.sources]


def resources(_ctx: click.Context) -> list[str]:
    """The names of the resources: those of their files, as an import of all takes too long."""
    import etl

    folder = Path(etl.__file__).parent / "resources"
    return sorted(one.name for one in pkgutil.iter_modules([str(folder)]) if one.name != "reading")


#: What completes an option, by its name; the same words mean the same with every command.
COMPLETED: Mapping[str, Callable[[click.Context], Sequence[str]]] = {
    "--source": sources,
    "--resource": resources,
    "--by": lambda _: BY,
}
#: What completes what is called so in a help page.
_PATHS = {"FILE": "file", "FILE…": "file", "DIR": "dir"}


class Choice(ChoiceType):
    """One of some words; for a misspelt one the error names the nearest."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The word itself."""
        from etl.settings import nearest

        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            hint = nearest(str(value), [str(one) for one in self.choices])
            self.fail(f"{error.message.rstrip('.')}{hint}", param, ctx)


class Completed(Type):
    """Any text, with words that the shell offers."""

    name = "text"

    def __init__(self, words: Callable[[click.Context], Sequence[str]]) -> None:
        self._words = words

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The words that begin so; none where the settings cannot be read, and never an error."""
        found: Sequence[str] = ()
        with suppress(Exception):
            found = self._words(ctx)
        taken = ctx.params.get(param.name or "") or ()
        said = taken if param.multiple else ()
        return [
            CompletionItem(one) for one in found if one.startswith(incomplete) and one not in said
        ]


class Place(Type):
    """Any text, for which the shell offers files or directories."""

    name = "text"

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def shell_complete(
        self,
        ctx: click.Context,  # noqa: ARG002 - click gives it
        param: click.Parameter,  # noqa: ARG002 - the same
        incomplete: str,
    ) -> list[CompletionItem]:
        """Word for the shell that it should offer its own."""
        return [CompletionItem(incomplete, type=self._kind)]


def knowing(param: click.Parameter) -> Type:
    """The type of an option or argument, with what is known of its words."""
    found = param.type
    if type(found) is click.Choice:
        return Choice(found.choices, found.case_sensitive)
    if found is not click.STRING:
        return found
    for name in param.opts:
        if name in COMPLETED:
            return Completed(COMPLETED[name])
    kind = _PATHS.get(param.metavar or "")
    return found if kind is None else Place(kind)
