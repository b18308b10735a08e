"""What datasette and dbt are told of a mirror: what is known of each table, view and column.

python -m bi.descriptions  # writes config/datasette/metadata.json and config/dbt/models/views.md
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import yaml
from sqlalchemy import Table

from etl.db import views
from etl.db.tables import lease_metadata
from etl.db.tables import metadata as declared
from etl.resources import discover

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / "config" / "datasette"
#: What datasette reads, and what dbt does; both are written by this module.
METADATA = HOME / "metadata.json"
DBT_DOCS = ROOT / "config" / "dbt" / "models" / "views.md"
#: The name under which datasette serves a mirror: that of its file, `ftmirror.db`.
DATABASE = "ftmirror"
#: The only page of datasette-dashboards.
DASHBOARD = "fine-tuning"

_VIEWS = ROOT / "etl" / "sql" / "views"
#: What a column's name says of its unit, where nothing else does.
_UNITS = {
    r"bytes": "bytes",
    r".*_seconds|seconds": "seconds",
    r".*_microusd": "micro-dollars",
    r".*_nano": "billionths of the currency",
    r".*_usd": "US dollars",
    r".*_at|.*_time|estimated_finish|valid_(from|until)|missing_since|absent_since": "UTC",
}


def texts() -> dict[Path, str]:
    """What the files should say, by their path."""
    blocks = [
        f"{{% docs ftmirror_{name} %}}\n{views.summary(name)}\n{{% enddocs %}}\n"
        for name in views.names()
    ]
    return {
        METADATA: json.dumps(metadata(), indent=2, ensure_ascii=False) + "\n",
        DBT_DOCS: "\n".join(blocks),
    }


def metadata() -> dict[str, Any]:
    """All of metadata.json."""
    by_hand = yaml.safe_load((HOME / "by-hand.yaml").read_text(encoding="utf-8"))
    hidden, tables = by_hand.pop("hidden"), by_hand.pop("tables")
    dashboard, queries = by_hand.pop("dashboard"), by_hand.pop("queries")
    for chart in dashboard["charts"].values():
        chart["db"] = DATABASE
    known = described()
    for name, more in tables.items():
        known[name] |= more
    for name in hidden:
        known[name]["hidden"] = True
    return {
        **by_hand,
        "databases": {DATABASE: {"queries": queries, "tables": known}},
        "plugins": {"datasette-dashboards": {DASHBOARD: dashboard}},
    }


def described(directory: Path = _VIEWS) -> dict[str, dict[str, Any]]:
    """What is known of each table and view, by name; `directory` is the views'."""
    discover()
    tables = [*declared.tables.values(), *lease_metadata.tables.values()]
    found = {table.name: _table(table) for table in tables}
    found |= {name: _view(name, directory) for name in views.names()}
    return dict(sorted(found.items()))


def _table(table: Table) -> dict[str, Any]:
    columns = {column.name: _column(column.name, column.comment) for column in table.columns}
    return _entry(table.comment, columns)


def _view(name: str, directory: Path) -> dict[str, Any]:
    """A view's sentence, and its columns where a file beside its query explains them."""
    path = directory / f"{name}.toml"
    explained = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    columns = {
        # A sentence, or the column's kind and a sentence.
        column: _column(column, words if isinstance(words, str) else words[-1])
        for column, words in explained.get("columns", {}).items()
    }
    return _entry(views.summary(name), columns)


def _entry(description: str | None, columns: dict[str, str | None]) -> dict[str, Any]:
    entry: dict[str, Any] = {}
    if description:
        entry["description"] = description
    if told := {name: words for name, words in columns.items() if words}:
        entry["columns"] = told
    return entry


def _column(name: str, comment: str | None) -> str | None:
    """What is said of a column, with its unit where the name has one and the words do not."""
    unit = next((unit for form, unit in _UNITS.items() if re.fullmatch(form, name)), None)
    if comment and unit and unit.lower() not in comment.lower():
        return f"{comment.rstrip('.')} ({unit})."
    return comment or (f"In {unit}." if unit else None)


if __name__ == "__main__":
    for file, content in texts().items():
        file.write_text(content, encoding="utf-8")
