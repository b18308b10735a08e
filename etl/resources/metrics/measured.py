"""Measurements in JSON: every number in what an event or a checkpoint says of one step."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from etl.fields import Drift, Fields, clean, example
from etl.resource import Row, row_of
from etl.resources.metrics.tables import NAME_LENGTH, training_metrics

MetricRow = row_of(training_metrics)

#: Members that say which step it is, which is no measurement.
_PLACE = frozenset({"step", "total_steps"})


def metric_rows(
    job_id: str, origin: str, origin_id: str, step: int, found: Mapping[str, float]
) -> Iterator[Row]:
    """A row of `training_metrics` for each measurement of a step."""
    for name, value in found.items():
        yield MetricRow(job_id, origin, origin_id, step, name, value)


def step_of(fields: Fields, name: str) -> int | None:
    """The step that a member says; `80.0`, which Azure writes, is 80 without a note."""
    value = fields.raw(name)
    if isinstance(value, float) and abs(value) < 2**53 and value.is_integer():
        return int(value)
    return fields.integer(name)


def measurements(fields: Fields) -> dict[str, float]:
    """Every number in an object by its name; a number deeper in has its path, joined by dots.

    An item of a list goes by its `name` where no other item there has the same, else by its
    place from 0. Text and truth values are not measured: at the top they are noted, deeper in
    they describe what is.
    """
    found: dict[str, float] = {}
    for name, value in fields.value.items():
        if name in _PLACE:
            continue
        if isinstance(value, (str, bool)):
            fields.note(name, "wrong_type", value)
        else:
            path = f"{fields.path}.{name}" if fields.path else name
            _find(value, name, path, found, fields.notes)
    return found


def _find(value: Any, name: str, path: str, found: dict[str, float], notes: list[Drift]) -> None:
    # As deep as JSON may go here (`jsontext.MAX_DEPTH`), which recursion bears.
    if isinstance(value, dict):
        for member, part in value.items():
            _find(part, f"{name}.{member}", f"{path}.{member}", found, notes)
    elif isinstance(value, list):
        for label, part in zip(_labels(value), value, strict=True):
            _find(part, f"{name}.{label}", f"{path}[]", found, notes)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _keep(value, name, path, found, notes)


def _labels(items: list[Any]) -> list[str]:
    names = [item.get("name") if isinstance(item, dict) else None for item in items]
    times = Counter(name for name in names if isinstance(name, str))
    return [
        name if isinstance(name, str) and name and times[name] == 1 else str(place)
        for place, name in enumerate(names)
    ]


def _keep(value: float, name: str, path: str, found: dict[str, float], notes: list[Drift]) -> None:
    stored = clean(name)
    number = _finite(value)
    if stored != name:
        notes.append(Drift(path, "replaced_characters", example(name)))
    if number is None:
        notes.append(Drift(path, "out_of_range", example(value)))
    elif not stored or stored in found:
        # Two ways to write one name (`a.b`, and `b` in `a`): the first is kept.
        notes.append(Drift(path, "unknown_field", example(value)))
    elif len(stored) > NAME_LENGTH:
        notes.append(Drift(path, "too_long", example(value)))
    else:
        found[stored] = number


def _finite(value: float) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
