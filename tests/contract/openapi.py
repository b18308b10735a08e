"""The official description of the API, for tests that hold answers against it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from openapi_schema_validator import OAS31Validator

DESCRIPTION = Path(__file__).parents[3] / "shared" / "api" / "openapi-fine-tuning.yaml"


class Description:
    """Answers held against the schemas of their paths."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._paths = document["paths"]
        self._components = {"components": document["components"]}

    @property
    def paths(self) -> list[str]:
        """All paths described."""
        return list(self._paths)

    def errors(self, path: str, answer: object) -> Iterator[str]:
        """What is wrong with an answer: the place, indices as `*`, and the broken rule."""
        content = self._paths[path]["get"]["responses"]["200"]["content"]
        schema = content["application/json"]["schema"] | self._components
        for error in OAS31Validator(schema).iter_errors(answer):
            yield from _leaves(error)


def _leaves(error: Any) -> Iterator[str]:
    """The errors of the branch that got furthest, where a schema has alternatives."""
    if error.context:
        branches: dict[object, list[Any]] = {}
        for inner in error.context:
            branches.setdefault(inner.schema_path[0], []).append(inner)
        best = min(branches.values(), key=_distance)
        for inner in best:
            yield from _leaves(inner)
        return
    place = ".".join("*" if isinstance(part, int) else part for part in error.absolute_path)
    what = error.message if error.validator in {"required", "enum"} else str(error.validator)
    yield f"{place}: {what}"


def _distance(errors: list[Any]) -> tuple[int, int]:
    wrong_kind = sum(error.validator in {"enum", "type"} for error in errors)
    return wrong_kind, len(errors)


def description() -> Description:
    """The official description; skips the test where it is not at hand."""
    if not DESCRIPTION.exists():
        pytest.skip("the official description is not beside the project (../shared/api)")
    return Description(yaml.safe_load(DESCRIPTION.read_text(encoding="utf-8")))
