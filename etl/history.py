"""What one state of a record says otherwise than another. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from etl.errors import RecordError
from etl.fields import clean, is_empty
from etl.record import Record


def changes(before: Record, after: Record) -> str:
    """The fields that differ, as `error.code, status`, in the order of the alphabet.

    Objects are looked into, lists are not; absent, null, `{}` and `[]` are one. `payload` where one
    of the two is no JSON object, `parent_id` and `project_id` where the texts alone are equal.
    """
    try:
        old, new = before.value, after.value
    except RecordError:
        return "payload" if before.payload != after.payload else _around(before, after)
    if not isinstance(old, dict) or not isinstance(new, dict):
        return "payload"
    return ", ".join(sorted(set(_differing(old, new, "")))) or _around(before, after)


def _around(before: Record, after: Record) -> str:
    said = {
        "id_space": (before.origin.id_space, after.origin.id_space),
        "parent_id": (before.parent_id, after.parent_id),
        "project_id": (before.origin.project_id, after.origin.project_id),
        "source": (before.origin.source, after.origin.source),
    }
    return ", ".join(name for name, (old, new) in said.items() if old != new)


def _differing(old: dict[str, Any], new: dict[str, Any], path: str) -> Iterator[str]:
    for name in old.keys() | new.keys():
        one, other = old.get(name), new.get(name)
        if _same(one, other) or (is_empty(one) and is_empty(other)):
            continue
        where = path + clean(name)
        if isinstance(one, dict) and isinstance(other, dict):
            yield from _differing(one, other, f"{where}.")
        else:
            yield where


def _same(one: Any, other: Any) -> bool:
    """Equal, and of one kind: `1` and `1.0` and `true` are three things."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if type(one) is not type(other):
        return False
    return bool(one == other and getattr(one, "text", None) == getattr(other, "text", None))
