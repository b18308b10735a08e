"""No statement is made of data: each place that makes SQL of pieces is known, with its reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: Places where a statement is no constant, and why none of it can come from outside.
KNOWN = {
    "etl/db/bulk.py, _executemany_insert": "SQLAlchemy's text of a declared table",
    "etl/db/bulk.py, _executemany_upsert": "SQLAlchemy's text of a declared table",
    "etl/db/bulk.py, _execute_plain": "values by `_LITERAL`; tests/contract/test_literals.py",
    "etl/db/bulk.py, _copy": "names of a declared table, quoted by SQLAlchemy",
    "etl/db/bulk.py, _copy_upsert": "names of a declared table, quoted by SQLAlchemy",
    "etl/db/bulk.py, select_by_id": "names of a declared table, quoted; values are parameters",
    "etl/db/comments.py, bring": "names and comments of declared tables, quoted by SQLAlchemy",
    "etl/db/engine.py, set_up": "numbers that stand in the module",
    "etl/db/granting.py, _try": "rights of ours; names are quoted by `etl.db.rights`",
    "etl/db/lease.py, database_now": "the clock's name, one of a table in the module",
    "etl/db/views.py, _execute": "files of ours in etl/sql/views, and their names",
    "migrations/versions/0002_children.py, downgrade": "names that stand in the file",
    "migrations/versions/0005_spend.py, downgrade": "names that stand in the file",
}

#: What takes SQL as text, and nothing else.
_TAKES_TEXT = {
    "exec_driver_sql",
    "literal_column",
    "text",
    "DDL",
    "copy",
    "executescript",
    "prefix_with",
    "suffix_with",
    "with_hint",
    "from_statement",
    "TextClause",
}
#: What takes a statement of SQLAlchemy's, or text.
_TAKES_BOTH = {"execute", "executemany", "scalar", "scalars", "stream"}


def called(call: ast.Call) -> str:
    """The name of what is called; `text` only where it is the function, not somebody's method."""
    function = call.func
    if isinstance(function, ast.Name):
        return function.id
    if not isinstance(function, ast.Attribute):
        return ""
    owner = getattr(function.value, "id", "")
    is_method = function.attr == "text" and owner not in ("sa", "sqlalchemy")
    return "" if is_method else function.attr


def is_constant(value: ast.expr) -> bool:
    if isinstance(value, ast.IfExp):
        return is_constant(value.body) and is_constant(value.orelse)
    return isinstance(value, ast.Constant)


def is_made(value: ast.expr) -> bool:
    """Is this text put together: an f-string, a sum, `%`, `format`, `join`, `replace`?"""
    if isinstance(value, ast.JoinedStr):
        return True
    if isinstance(value, ast.BinOp):
        return isinstance(value.op, (ast.Add, ast.Mod))
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Attribute):
        return False
    is_of_text = isinstance(value.func.value, (ast.Constant, ast.JoinedStr))
    return value.func.attr in {"format", "replace"} or (value.func.attr == "join" and is_of_text)


def own(function: ast.AST) -> Iterator[ast.AST]:
    """What stands in a function, but not in those inside it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
            yield from own(child)


def places(source: str, name: str) -> Iterator[str]:
    """The functions of a module in which a statement is no constant."""
    tree = ast.parse(source)
    for scope in ast.walk(tree):
        if not isinstance(scope, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Module)):
            continue
        inside = list(own(scope))
        made = {
            target.id
            for one in inside
            if isinstance(one, ast.Assign) and is_made(one.value)
            for target in one.targets
            if isinstance(target, ast.Name)
        }
        for one in inside:
            if not isinstance(one, ast.Call) or not one.args:
                continue
            first, what = one.args[0], called(one)
            is_odd = what in _TAKES_TEXT and not is_constant(first)
            is_named = isinstance(first, ast.Name) and first.id in made
            is_odd |= what in _TAKES_BOTH and (is_made(first) or is_named)
            if is_odd:
                yield f"{name}, {getattr(scope, 'name', 'the module')}"


def test_every_statement_that_is_no_constant_is_known() -> None:
    """A new one needs a reason here, or better: parameters. One that is gone goes here, too."""
    found: set[str] = set()
    for folder in ("etl", "migrations"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            found.update(places(path.read_text(encoding="utf-8"), name))
    assert found == KNOWN.keys()


@pytest.mark.parametrize(
    "line",
    [
        'connection.execute(f"DELETE FROM jobs WHERE id = {id}")',
        'connection.execute("DELETE FROM jobs WHERE id = %s" % id)',
        'connection.execute("DELETE FROM jobs WHERE id = " + id)',
        'connection.execute("DELETE FROM jobs WHERE id = {}".format(id))',
        'query = f"SELECT {id}"; connection.scalar(query)',
        "connection.execute(text(id))",
        'connection.execute(sa.text(f"SELECT {id}"))',
        "connection.exec_driver_sql(id)",
        "select(literal_column(id))",
        "select(jobs).prefix_with(id)",
        'op.execute("DROP TABLE " + ", ".join(id))',
    ],
)
def test_statements_made_of_data_are_found(line: str) -> None:
    """The test above would see them."""
    assert list(places(f"def delete(connection, id):\n    {line}\n", "a")) == ["a, delete"]


@pytest.mark.parametrize(
    "line",
    [
        "connection.execute(delete(jobs).where(jobs.c.id == id))",
        'connection.execute(text("DELETE FROM jobs WHERE id = :id"), {"id": id})',
        'fields.text(f"a{id}")',
        'connection.exec_driver_sql("BEGIN IMMEDIATE" if id else "BEGIN")',
    ],
)
def test_statements_with_parameters_are_fine(line: str) -> None:
    assert list(places(f"def delete(connection, id):\n    {line}\n", "a")) == []
