"""What an answer must be to be taken: a page of a list, one object, or a file.

Each raises a SpoiltAnswer for anything else, upon which the client asks again.
"""

from __future__ import annotations

from etl import jsontext
from etl.api.client import Answer
from etl.errors import SpoiltAnswer

_PAGE = " An HTML page came: check base_url, and for a proxy or login page in between."


def page_of(answer: Answer) -> tuple[Answer, jsontext.ListPage]:
    """The answer with the page of a list that it is."""
    try:
        return answer, jsontext.split_list(answer.body)
    except (jsontext.NotJson, jsontext.WrongShape) as error:
        sentence = f"This is not a page of a list: {error}.{_hint(answer)}"
        raise SpoiltAnswer(sentence, answer.exchange) from error


def object_of(answer: Answer) -> bytes:
    """The text of one JSON object. What it says is not looked at."""
    if jsontext.item_id(answer.body) is None and (problem := _no_object(answer.body)):
        sentence = f"This is no record: {problem}.{_hint(answer)}"
        raise SpoiltAnswer(sentence, answer.exchange)
    return answer.body


def _no_object(text: bytes) -> str | None:
    """Why a text without an id is no record either; None where it is one that lacks an id."""
    try:
        value = jsontext.decode(text)
    except jsontext.NotJson as error:
        return f"not JSON: {error}"
    if not isinstance(value, dict):
        return "JSON, but not an object"
    if not value.keys() - {"error"}:
        return "an error, or nothing, with the status of a success"
    return None


def file_of(answer: Answer) -> bytes:
    """The bytes of a file."""
    if answer.content_type == "text/html":
        raise SpoiltAnswer(
            "An HTML page came instead of a file: check for a proxy or login page in between.",
            answer.exchange,
        )
    return answer.body


def _hint(answer: Answer) -> str:
    return _PAGE if answer.content_type == "text/html" else ""
