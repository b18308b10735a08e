"""What each view means: the file `<name>.toml` beside its query, written once for all databases.

It holds `topic`, `summary` (one sentence), `key` (the columns that tell two rows apart), `time`
(optional: the column that says when a row was), `note` (optional: what to know before asking), a
`question` that people have, the `sql` that answers it on every database, `before` (optional: what
brings the demo the rows for that), and `columns`: each with its type word and its meaning, in their
order.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from etl.errors import StoreError

DIRECTORY = Path(__file__).parent.parent / "sql" / "views"
SUFFIX = ".toml"

#: What a view is about, in the order in which people ask.
TOPICS = ("jobs", "training", "money", "mirror")
#: What a value is, whatever each database calls that.
TYPES = ("text", "integer", "number", "decimal", "timestamp", "boolean", "json")

_NEEDED = ("topic", "summary", "key", "question", "sql", "columns")
_MORE = ("time", "note", "before")


@dataclass(frozen=True)
class ViewColumn:
    """One column of a view."""

    name: str
    #: One of `TYPES`.
    type: str
    comment: str


@dataclass(frozen=True)
class Explained:
    """What one view means."""

    #: One of `TOPICS`.
    topic: str
    #: One sentence.
    summary: str
    question: str
    sql: str
    columns: tuple[ViewColumn, ...]
    #: The columns that tell two rows apart.
    key: tuple[str, ...]
    #: The column that says when a row was; None where rows have no time.
    time: str | None = None
    #: Markdown; '' where the summary says all.
    note: str = ""
    #: Commands that bring the demo's mirror the rows which the question is about.
    before: tuple[str, ...] = ()


@cache
def views() -> Mapping[str, Explained]:
    """Every view's explanation by its name. Raises StoreError."""
    return read(DIRECTORY)


def read(directory: Path) -> dict[str, Explained]:
    """The explanations of a directory by the view's name.

    Raises StoreError for a file that lacks something, or holds something that nobody reads.
    """
    found = {}
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        try:
            found[path.stem] = _explained(tomllib.loads(path.read_text(encoding="utf-8")))
        except (ValueError, TypeError) as error:
            raise StoreError(f"{path.name}: {error}") from error
    return found


def _explained(said: Mapping[str, Any]) -> Explained:
    missing = [name for name in _NEEDED if not said.get(name)]
    unknown = sorted(set(said) - {*_NEEDED, *_MORE})
    if missing or unknown:
        raise ValueError(f"lacks {missing}, and nobody reads {unknown}")
    if said["topic"] not in TOPICS:
        raise ValueError(f"topic is one of {', '.join(TOPICS)}, not {said['topic']!r}")
    if not said["summary"].endswith("."):
        raise ValueError("the summary is a sentence, and ends in a full stop")
    strangers = {*said["key"], *([said["time"]] if "time" in said else [])} - set(said["columns"])
    if strangers:
        raise ValueError(f"key and time name columns, not {', '.join(sorted(strangers))}")
    return Explained(
        topic=said["topic"],
        summary=said["summary"],
        question=said["question"],
        sql=said["sql"].strip(),
        columns=tuple(_column(name, value) for name, value in said["columns"].items()),
        key=tuple(said["key"]),
        time=said.get("time"),
        note=said.get("note", "").strip(),
        before=tuple(said.get("before", ())),
    )


def _column(name: str, said: Any) -> ViewColumn:
    match said:
        case [str(kind), str(comment)] if kind in TYPES and comment:
            return ViewColumn(name, kind, comment)
    raise ValueError(f'a column is written {name} = ["<type>", "<what it is>"], not {said!r}')
