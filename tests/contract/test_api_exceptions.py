"""Every exception of requests has a meaning here; a new one fails this test until it has."""

from __future__ import annotations

import inspect

import pytest
from requests import exceptions

from etl.api.border import MEANINGS, translate
from etl.errors import ApiError, Exchange
from etl.settings import Source

ALL = sorted(
    (
        member
        for member in vars(exceptions).values()
        if inspect.isclass(member) and issubclass(member, exceptions.RequestException)
    ),
    key=lambda member: member.__name__,
)


def test_there_are_exceptions_to_look_at() -> None:
    """The walk below finds what it walks for."""
    assert len(ALL) >= 20


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
def test_every_exception_of_requests_is_mapped(kind: type[Exception]) -> None:
    """By its own name, not only by a parent's."""
    assert kind in MEANINGS
    error = kind("sk-secret", "", 0) if issubclass(kind, ValueError) else kind("sk-secret")
    result = translate(error, Source(), Exchange("/files"))
    assert isinstance(result, ApiError)
    assert str(result).endswith(". (GET /files)")
    assert "sk-secret" not in str(result)
    assert "{" not in str(result)
