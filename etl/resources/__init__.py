"""One file a resource. A module here that holds a `RESOURCE` is mirrored; nothing lists it."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from graphlib import TopologicalSorter

from sqlalchemy.sql import visitors

from etl.resource import Resource


@cache
def discover() -> dict[str, Resource]:
    """Every resource by name, what others hang off first. Import errors are raised."""
    found: dict[str, Resource] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        resource = getattr(importlib.import_module(f"{__name__}.{module.name}"), "RESOURCE", None)
        if isinstance(resource, Resource):
            found[resource.name] = resource
    owners = {table: one.name for one in found.values() for table in one.tables}
    order: TopologicalSorter[str] = TopologicalSorter()
    for one in found.values():
        asked = {owners[table] for table in _tables_asked(one) if table in owners}
        order.add(one.name, *sorted(asked - {one.name}))
    return {name: found[name] for name in order.static_order()}


def _tables_asked(resource: Resource) -> set[object]:
    """The tables that say of what a resource's records are asked for, and for how long."""
    if resource.days is not None:
        return {resource.days.since.table}
    if resource.parents is None:
        return set()
    tables: set[object] = {column.table for column in resource.parents.columns}
    if resource.parents.ended_at is not None:
        found = visitors.iterate(resource.parents.ended_at)
        tables |= {getattr(element, "table", None) for element in found}
    return tables
