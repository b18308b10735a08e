"""The dictionary as Markdown: views first, then tables by what they are for, then their diagram."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from etl.dictionary import mermaid
from etl.dictionary.model import (
    GROUPS,
    Dictionary,
    DictionaryColumn,
    DictionaryTable,
    DictionaryView,
)

_INTRODUCTION = """\
What every view, table and column means. Views are for questions and for BI tools: their names and
columns change only with a note in the changelog, and a view says the same on SQLite, PostgreSQL and
MariaDB. Tables are what the views read; no foreign keys hold them together, since the API may name
what it does not list.

Times are UTC, without a zone. Types go by one word on every database:

| type | SQLite | PostgreSQL | MariaDB |
| --- | --- | --- | --- |
| text | text | varchar, text | varchar, longtext |
| integer | integer | integer, bigint; numeric in sums | int, bigint; decimal in sums |
| number | real | double precision, numeric | double, decimal |
| decimal | text | numeric(38,20) | decimal(38,20) |
| timestamp | text, `YYYY-MM-DD HH:MM:SS` | timestamp | datetime(6) |
| boolean | 0 or 1 | boolean | 0 or 1 |
| json | text | json | longtext |
"""

_ANSWERS = """\
The answers are those of the demo (`make demo`, or `ftmirror demo`), as
`sqlite3 -header -column ftmirror-demo.db` shows them. Where the demo has nothing to show, files are
imported first, from a checkout.
"""

_TABLES = """\
A bold name is part of the key. `→` names the column of another table that holds the same.
"""

_DIAGRAMS_SHOW = """\
Keys, and columns that refer to other tables. Two strokes at a line's upper end: there is always
such a row; a stroke and a circle: there may be none.
"""

_DIAGRAMS = {
    "Jobs, and what is nested in them": ("jobs",),
    "What hangs off jobs, and money": ("children", "money"),
    "The ledger and its runs": ("bookkeeping",),
}

_TOPICS = {
    "jobs": "Jobs",
    "training": "Training and models",
    "money": "Money",
    "mirror": "The mirror itself",
}


def render(dictionary: Dictionary, answers: Mapping[str, str] | None = None) -> str:
    """The whole of it; with `answers` each view's answer, by its name, stands below its query."""
    return "\n".join(_parts(dictionary, answers)).rstrip("\n") + "\n"


def sections(dictionary: Dictionary) -> str:
    """Each view and table by itself, without what the page says of all of them."""
    parts = [*(_view(one, None) for one in dictionary.views), *map(_table, dictionary.tables)]
    return "\n".join(line for part in parts for line in part).rstrip("\n") + "\n"


def _parts(dictionary: Dictionary, answers: Mapping[str, str] | None) -> Iterator[str]:
    yield f"# Data dictionary\n\n{_INTRODUCTION}"
    if dictionary.views:
        yield "## Views\n"
        if answers is not None:
            yield _ANSWERS
        yield from _list_of(dictionary)
    for view in dictionary.views:
        yield from _view(view, answers)
    if dictionary.tables:
        yield f"## Tables\n\n{_TABLES}"
    for group, heading in GROUPS.items():
        found = [table for table in dictionary.tables if table.group == group]
        if found:
            yield f"### {heading}\n"
        for table in found:
            yield from _table(table)
    yield from _diagrams(dictionary)


def _list_of(dictionary: Dictionary) -> Iterator[str]:
    yield "| about | view | shows |\n| --- | --- | --- |"
    before = ""
    for view in dictionary.views:
        topic = "" if view.topic == before else _TOPICS[view.topic]
        yield f"| {topic} | [`{view.name}`](#{view.name}) | {_cell(view.summary)} |"
        before = view.topic
    yield ""


def _view(view: DictionaryView, answers: Mapping[str, str] | None) -> Iterator[str]:
    yield f"### `{view.name}`\n\n{view.summary}\n"
    if view.note:
        yield f"{view.note}\n"
    yield "| column | type | meaning |\n| --- | --- | --- |"
    for column in view.columns:
        yield f"| `{column.name}` | {column.type} | {_cell(column.comment)} |"
    yield f"\n{view.question}\n"
    if answers is not None and view.before:
        yield "\n".join(("```sh", *view.before, "```"))
    yield f"```sql\n{view.sql}\n```"
    if answers is not None:
        yield f"```text\n{answers[view.name]}```"
    yield ""


def _table(table: DictionaryTable) -> Iterator[str]:
    yield f"#### `{table.name}`\n\n{table.comment}\n"
    yield "| column | type | NULL | meaning |\n| --- | --- | --- | --- |"
    for column in table.columns:
        name = f"**`{column.name}`**" if column.is_key else f"`{column.name}`"
        may = "yes" if column.is_nullable else ""
        yield f"| {name} | {column.type} | {may} | {_meaning(column)} |"
    yield ""


def _meaning(column: DictionaryColumn) -> str:
    others = ", ".join(f"`{other}`" for other in column.refers_to)
    return _cell(f"{column.comment} → {others}" if others else column.comment)


def _diagrams(dictionary: Dictionary) -> Iterator[str]:
    """A diagram for some groups at a time: all tables in one would be too wide to read.

    Tables that refer to nothing, and that nothing refers to, are in none.
    """
    parts = [(heading, _around(dictionary, groups)) for heading, groups in _DIAGRAMS.items()]
    if any(any(part.references()) for _, part in parts):
        yield f"## How tables refer to each other\n\n{_DIAGRAMS_SHOW}"
    for heading, part in parts:
        if any(part.references()):
            yield f"### {heading}\n"
            yield f"```mermaid\n{mermaid.render(part, only_keys=True)}```\n"


def _around(dictionary: Dictionary, groups: Collection[str]) -> Dictionary:
    """The tables of these groups that refer to others, and those others."""
    there = {table.name for table in dictionary.tables if table.group in groups}
    found = [one for one in dictionary.references() if one.table in there]
    return dictionary.only({name for one in found for name in (one.table, one.other_table)})


def _cell(text: str) -> str:
    """Text within a table's cell."""
    return text.replace("|", "\\|")
