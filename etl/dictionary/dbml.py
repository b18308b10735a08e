"""Tables and views in DBML, which diagram and catalogue tools read."""

from __future__ import annotations

from collections.abc import Iterator

from etl.dictionary.model import GROUPS, Dictionary, DictionaryTable, DictionaryView


def render(dictionary: Dictionary) -> str:
    """All of it. DBML has no word for a view, so each is a table whose note says what it is."""
    return "\n".join(_parts(dictionary))


def _parts(dictionary: Dictionary) -> Iterator[str]:
    for table in dictionary.tables:
        yield _table(table)
    for view in dictionary.views:
        yield _view(view)
    for one in dictionary.references():
        yield f"Ref: {one.table}.{one.column} > {one.other_table}.{one.other_column}"
    for group in GROUPS:
        found = [table.name for table in dictionary.tables if table.group == group]
        if found:
            yield "\n".join((f"\nTableGroup {group} {{", *(f"  {name}" for name in found), "}"))


def _table(table: DictionaryTable) -> str:
    keys = [column.name for column in table.columns if column.is_key]
    lines = [f"Table {table.name} {{"]
    for column in table.columns:
        is_key = keys == [column.name]
        settings = ["pk"] if is_key else [] if column.is_nullable else ["not null"]
        settings.append(f"note: {_text(column.comment)}")
        lines.append(f"  {column.name} {column.type} [{', '.join(settings)}]")
    if len(keys) > 1:
        lines += ["  indexes {", f"    ({', '.join(keys)}) [pk]", "  }"]
    return "\n".join((*lines, f"  Note: {_text(table.comment)}", "}\n"))


def _view(view: DictionaryView) -> str:
    columns = (
        f"  {column.name} {column.type} [note: {_text(column.comment)}]" for column in view.columns
    )
    note = f"  Note: {_text(f'A view. {view.summary}')}"
    return "\n".join((f"Table {view.name} {{", *columns, note, "}\n"))


def _text(said: str) -> str:
    escaped = said.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
