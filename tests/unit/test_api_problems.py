"""What error bodies say, in every form, and how it is made fit to be shown."""

from __future__ import annotations

import json

import pytest

from etl.api.masking import Cleaner
from etl.api.problems import Problem, read_problem
from etl.settings import Secret, Source


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            {"error": {"message": "No.", "type": "t", "param": None, "code": "c"}},
            Problem("No.", "c", "t"),
        ),
        ({"error": {"message": "No.", "type": None, "code": None}}, Problem("No.")),
        ({"error": {"message": "No.", "code": 401}}, Problem("No.", "401")),
        ({"error": {"message": "No.", "code": 40.1}}, Problem("No.", "40.1")),
        ({"error": {"message": "No.", "code": True}}, Problem("No.")),
        (
            {"error": {"code": "429", "message": "No.", "innererror": {"code": "x"}}},
            Problem("No.", "429"),
        ),
        ({"error": "No."}, Problem("No.")),
        ({"error": "no", "error_description": "Not you."}, Problem("Not you.")),
        ({"error": {}, "message": "No."}, Problem("No.")),
        ({"error": {}}, Problem()),
        ({"detail": "No."}, Problem("No.")),
        ({"detail": [{"loc": ["query"], "msg": "No.", "type": "v"}]}, Problem("No.", None, "v")),
        ({"detail": {"error": {"message": "No.", "code": 7}}}, Problem("No.", "7")),
        ({"errors": [{"message": "No."}]}, Problem("No.")),
        (
            {"type": "about:blank", "title": "T", "status": 404, "detail": "No."},
            Problem("No.", None, "about:blank"),
        ),
        (
            {"type": "about:blank", "title": "T", "status": 404},
            Problem("T", None, "about:blank"),
        ),
        ("No.", Problem("No.")),
        ([], Problem()),
        (None, Problem()),
        (7, Problem()),
    ],
)
def test_json_bodies(value: object, expected: Problem) -> None:
    """OpenAI's form, Azure's, those of proxies, and nothing at all."""
    assert read_problem(json.dumps(value).encode()) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (
            b"<html><head><title>502 Bad &amp;\nGateway</title></head></html>",
            Problem("502 Bad &\nGateway", is_page=True),
        ),
        (b" <!doctype html><h1 class='x'>Sorry</h1>", Problem("Sorry", is_page=True)),
        (b"<html>", Problem("", is_page=True)),
        (b"upstream timed out", Problem("upstream timed out")),
        (b"", Problem()),
        (b'{"error": {"message": "cut', Problem('{"error": {"message": "cut')),
        (b"\xff\xfe", Problem("\ufffd\ufffd")),
    ],
)
def test_other_bodies(body: bytes, expected: Problem) -> None:
    """A page is known by its title; text is taken as it is."""
    assert read_problem(body) == expected


def test_nesting_without_end_says_nothing() -> None:
    """A body made to break readers breaks none."""
    nested: object = "deep"
    for _ in range(100):
        nested = {"error": [nested]}
    assert read_problem(json.dumps(nested).encode()) == Problem()
    assert read_problem(b'{"error":' * 100_000).message.startswith('{"error"')


SOURCE = Source(
    api_key=Secret("OPENAI_API_KEY", "sk-project-1234"),
    admin_key=Secret("OPENAI_ADMIN_KEY", "sk-admin-1234"),
    extra_headers=(("x-portkey-api-key", "pk-5678"), ("Cookie", "Basic dXNlcg=="), ("x", "1")),
    extra_query=(("api-version", "2024-10-21"), ("subscription-key", "sub-9999")),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Incorrect key sk-project-1234.", "Incorrect key ***."),
        ("sk-admin-1234sk-admin-1234", "******"),
        ("pk-5678, and dXNlcg== and sub-9999", "***, and *** and ***"),
        ("version 2024-10-21 is 1 of many", "version 2024-10-21 is 1 of many"),
        (" two\n lines\t\x1b[31m \ud800 ", "two lines [31m"),
        ("x" * 301, "x" * 299 + "…"),
    ],
)
def test_server_text_is_made_fit_to_be_shown(text: str, expected: str) -> None:
    """Secrets masked, one line, no control characters, a bounded length."""
    for secret in (SOURCE.api_key, SOURCE.admin_key):
        secret.read()
    assert Cleaner(SOURCE)(text) == expected


def test_nothing_to_mask() -> None:
    """A source without any secret changes no text."""
    assert Cleaner(Source())("as it is") == "as it is"
