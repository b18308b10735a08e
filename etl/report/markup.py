"""HTML in small: elements whose texts are escaped, whoever wrote them."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import TypeAlias

from etl.settings import escaped

#: Elements that hold nothing, and are not closed.
_EMPTY = frozenset({"br", "col", "meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


#: What an element may hold: HTML, text to be escaped, or several of both; None is left out.
Child: TypeAlias = "str | Iterable[Child] | None"


def shown(value: str) -> Markup:
    """Text as HTML shows it; control characters are written out, as they are on a terminal."""
    return Markup(html.escape(escaped(value), quote=True))


def joined(*children: Child) -> Markup:
    """What these are as HTML, one behind the other."""
    parts: list[str] = []
    for child in children:
        if child is None:
            continue
        if isinstance(child, Markup):
            parts.append(child)
        elif isinstance(child, str):
            parts.append(shown(child))
        else:
            parts.append(joined(*child))
    return Markup("".join(parts))


def tag(name: str, /, *children: Child, **attributes: str | bool | None) -> Markup:
    """An element. `class_` is the attribute `class`, `aria_label` is `aria-label`.

    An attribute that is None or False is left out, one that is True has no value.
    """
    given = "".join(
        f" {_attribute(key)}" if value is True else f' {_attribute(key)}="{shown(str(value))}"'
        for key, value in attributes.items()
        if value is not None and value is not False
    )
    if name in _EMPTY:
        return Markup(f"<{name}{given}>")
    return Markup(f"<{name}{given}>{joined(*children)}</{name}>")


def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")
