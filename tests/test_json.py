"""Answers in JSON: each is as its schema says, and the page shows what is answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests import answers
from tests.answers import BESIDE, PAGE, SAME_AS, answers_json, commands, names, problems, schema


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, Any]]:
    return list(answers.answers(tmp_path_factory.mktemp("answers")))


def test_every_answer_is_as_its_schema_says(real: list[tuple[str, Any]]) -> None:
    assert [(name, problems(name, answer)) for name, answer in real if problems(name, answer)] == []


def test_there_is_an_answer_of_each_schema_and_of_each_end(real: list[tuple[str, Any]]) -> None:
    """Or the test above would hold nothing."""
    assert {name for name, _ in real} == set(names())
    assert {one["status"] for name, one in real if name == "sync"} == {
        "success",
        "failed",
        "locked",
    }
    assert {one["verdict"] for name, one in real if name == "verify"} == {
        "equal",
        "failed",
        "differs",
    }
    assert {one["ok"] for name, one in real if name == "check"} == {True, False}
    assert {one["kind"] for name, one in real if name == "error"} == {
        "UsageError",
        "ConfigError",
        "LeaseHeld",
    }


def test_a_schema_lets_nothing_pass_that_it_does_not_know() -> None:
    assert problems("db-current", {"current": "0001", "head": "0002"}) == []
    assert len(problems("db-current", {"current": "0001", "head": "0002", "new": 1})) == 1
    assert len(problems("db-current", {"current": 1})) == 2
    assert len(problems("runs", [{"id": 1}])) > 5
    assert problems("spend", {"by": ["month"]}) != []


def objects(value: Any, place: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema."""
    if isinstance(value, dict):
        if "type" in value or "$ref" in value:
            yield place, value
        for name, inner in value.items():
            yield from objects(inner, f"{place}.{name}")


@pytest.mark.parametrize("name", names())
def test_a_schema_is_one_and_describes_each_field(name: str) -> None:
    found = schema(name)
    Draft202012Validator.check_schema(found)
    assert found["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for place, one in objects(found, name):
        if "$ref" not in one and not place.endswith(".properties"):
            assert one.get("description"), place
        for inner, property_ in one.get("properties", {}).items():
            assert property_["description"].endswith((".", "?")), f"{place}.{inner}"
        if one.get("type") == "object":
            assert "additionalProperties" in one, place
            assert one["additionalProperties"] is not True, place


def test_each_command_that_answers_in_json_has_a_schema() -> None:
    wanted = {
        SAME_AS.get("-".join(path), "-".join(path))
        for path, command in commands()
        if answers_json(command)
    }
    assert wanted | BESIDE == set(names())


def test_the_page_shows_each_schema_with_an_example_that_holds() -> None:
    """`python -m tests.test_docs` writes it anew."""
    content = PAGE.read_text("utf-8")
    shown = answers.examples(content)
    assert {name: problems(name, json.loads(text)) for name, text in shown.items()} == {
        name: [] for name in names()
    }
    assert answers.page(shown.__getitem__) == content


def test_the_examples_are_what_is_answered(real: list[tuple[str, Any]]) -> None:
    shown = answers.examples(PAGE.read_text("utf-8"))
    firsts = {name: answers.shortened(answer) for name, answer in reversed(real)}
    assert {name: answers.shape(json.loads(text)) for name, text in shown.items()} == {
        name: answers.shape(answer) for name, answer in firsts.items()
    }
