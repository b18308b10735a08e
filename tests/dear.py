"""What a dear test runs on: SQLite in `make test`, all databases in `make long`."""

from __future__ import annotations

import pytest

#: For a test that asks for `engine` or `empty_database`.
servers_when_long = pytest.mark.parametrize(
    "empty_database",
    [
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.long),
        pytest.param("mariadb", marks=pytest.mark.long),
    ],
    indirect=True,
)
