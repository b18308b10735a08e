"""A tool: `ftmirror` called in this process, with what it printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

import etl.cli


@dataclass
class Answer:
    """What one call did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its answer for programs."""
        return json.loads(self.out)

    @property
    def source(self) -> dict[str, Any]:
        """What that says of its only source."""
        (one,) = self.json["sources"]
        return dict(one)

    @property
    def is_narrow(self) -> bool:
        """Does what people read fit 80 columns?"""
        return all(len(line) <= 80 for line in self.out.splitlines() if line[:1] not in ("{", "["))


Call = Callable[..., Answer]


def caller(capsys: pytest.CaptureFixture[str]) -> Call:
    """What calls it with these words."""

    def run(*arguments: str) -> Answer:
        capsys.readouterr()
        code = etl.cli.main(list(arguments))
        said = capsys.readouterr()
        return Answer(code, said.out, said.err)

    return run
