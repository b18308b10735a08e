"""What somebody asked for: which tables and views, and which columns of them."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from etl.errors import UsageError
from etl.export import relations
from etl.export.kinds import Kind
from etl.export.relations import Relation


@dataclass(frozen=True)
class Chosen:
    """A relation, and those of its columns that are asked for."""

    relation: Relation
    columns: Mapping[str, Kind]

    @property
    def name(self) -> str:
        """The table's or view's name."""
        return self.relation.name


def chosen(known: Mapping[str, Relation], words: Sequence[str]) -> list[Chosen]:
    """What these words ask for, as `jobs` or `jobs:id,status`; without any, all that is usual.

    Raises UsageError for a table, view or column that is not there, with the nearest name.
    """
    if not words:
        return [_whole(known[name]) for name in relations.by_default(known)]
    found: dict[str, Chosen] = {}
    for word in words:
        name, colon, rest = word.partition(":")
        relation = _relation(known, name)
        if name in found:
            raise UsageError(f"{name} is asked for twice; name all its columns in one --table")
        found[name] = _some(relation, rest.split(",")) if colon else _whole(relation)
    return list(found.values())


def _whole(relation: Relation) -> Chosen:
    return Chosen(relation, relation.columns)


def _relation(known: Mapping[str, Relation], name: str) -> Relation:
    if name in relations.LEDGER:
        raise UsageError(f"{name} is part of the ledger, which --format ledger exports whole")
    if name not in known:
        raise UsageError(f"there is no table or view {name!r}; {nearest(name, known)}")
    return known[name]


def _some(relation: Relation, names: Sequence[str]) -> Chosen:
    for name in names:
        if name not in relation.columns:
            said = nearest(name, relation.columns)
            raise UsageError(f"{relation.name} has no column {name!r}; {said}")
        if names.count(name) > 1:
            raise UsageError(f"the column {name} of {relation.name} is asked for twice")
    return Chosen(relation, {name: relation.columns[name] for name in names})


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for a name that is not there."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"there are: {', '.join(names)}"
