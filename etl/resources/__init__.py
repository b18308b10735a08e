"""One file a resource. A module here that holds a `RESOURCE` is mirrored; nothing lists it."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from etl.resource import Resource


@cache
def discover() -> dict[str, Resource]:
    """Every resource by name, in the order of their modules' names. Import errors are raised."""
    found: dict[str, Resource] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        resource = getattr(importlib.import_module(f"{__name__}.{module.name}"), "RESOURCE", None)
        if isinstance(resource, Resource):
            found[resource.name] = resource
    return found
