"""The dashboard bundle of config/superset: read, written, and packed for an import."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent.parent / "config" / "superset"
DATABASE = HERE / "databases" / "ftmirror.yaml"
#: What an address shows where its password is; Superset asks for the password then.
MASK = "XXXXXXXXXX"

Document = dict[str, Any]


def charts() -> dict[Path, Document]:
    """Each chart by its file, in the order of the dashboards that show them."""
    known = {one["uuid"]: (path, one) for path, one in _read("charts").items()}
    found: dict[Path, Document] = {}
    for dashboard in dashboards().values():
        for uuid in charts_of(dashboard):
            path, chart = known[uuid]
            found[path] = chart
    return found


def charts_of(dashboard: Document) -> list[str]:
    """The UUIDs of a dashboard's charts, as they stand on it."""
    position = dashboard["position"]
    rows = [position[name] for name in position["GRID_ID"]["children"]]
    return [position[name]["meta"]["uuid"] for row in rows for name in row["children"]]


def dashboards() -> dict[Path, Document]:
    """Each dashboard by its file."""
    found = _read("dashboards")
    order = ("spend", "outcomes", "training", "freshness")
    return dict(sorted(found.items(), key=lambda item: order.index(item[0].stem)))


def datasets() -> dict[Path, Document]:
    """Each dataset by its file."""
    return _read("datasets/ftmirror")


def database() -> Document:
    """The one database that all datasets are of."""
    return read(DATABASE)


def read(path: Path) -> Document:
    """One file of the bundle."""
    found: Document = yaml.safe_load(path.read_text())
    return found


def write(path: Path, document: Document) -> None:
    """Write one file of the bundle as the others are written."""
    text = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)
    path.write_text(text)


def packed(uri: str) -> bytes:
    """The bundle as one zip file, with a database address whose password is masked."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(HERE.rglob("*.yaml")):
            text = path.read_text()
            if path == DATABASE:
                text = yaml.dump({**read(path), "sqlalchemy_uri": uri}, sort_keys=False)
            archive.writestr(f"superset/{path.relative_to(HERE)}", text)
    return held.getvalue()


def _read(kind: str) -> dict[Path, Document]:
    return {path: read(path) for path in sorted((HERE / kind).glob("*.yaml"))}


class _Dumper(yaml.SafeDumper):
    """Texts of several lines as they are read, and every value where it stands."""

    def ignore_aliases(self, _data: Any) -> bool:
        """No anchors: a file is to be read by people."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
