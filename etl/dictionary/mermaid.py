"""The tables as an entity diagram in Mermaid, which code hosts draw."""

from __future__ import annotations

from collections.abc import Iterator

from etl.dictionary.model import Dictionary, DictionaryColumn, DictionaryTable


def render(dictionary: Dictionary, *, only_keys: bool) -> str:
    """The diagram; `only_keys` leaves out columns that are no key and refer to nothing.

    Views are not in it: they refer to nothing.
    """
    return "".join(f"{line}\n" for line in _lines(dictionary, only_keys=only_keys))


def _lines(dictionary: Dictionary, *, only_keys: bool) -> Iterator[str]:
    yield "erDiagram"
    for table in dictionary.tables:
        yield from _table(table, only_keys=only_keys)
    for one in dictionary.references():
        parent = "||" if one.is_certain else "|o"
        yield f"    {one.other_table} {parent}--o{{ {one.table} : {one.column}"


def _table(table: DictionaryTable, *, only_keys: bool) -> Iterator[str]:
    yield f"    {table.name} {{"
    for column in table.columns:
        marks = _marks(column)
        if marks or not only_keys:
            yield f"        {column.type} {column.name}{marks}"
    yield "    }"


def _marks(column: DictionaryColumn) -> str:
    marks = [*(["PK"] if column.is_key else []), *(["FK"] if column.refers_to else [])]
    return f" {', '.join(marks)}" if marks else ""
