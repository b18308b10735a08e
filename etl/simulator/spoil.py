"""Turn a right answer into a wrong one, as a fault says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import NamedTuple

from .faults import Fault
from .slices import dump, edited, elements, members

HTML = b"<html><head><title>502 Bad Gateway</title></head><body>cloudflare</body></html>"
JSON_TYPE, HTML_TYPE = "application/json", "text/html; charset=UTF-8"

_MESSAGES = {
    "rate_limit_exceeded": (
        "Rate limit reached for requests. Please try again later.",
        "requests",
        "rate_limit_exceeded",
    ),
    "insufficient_quota": (
        "You exceeded your current quota, please check your plan and billing details.",
        "insufficient_quota",
        "insufficient_quota",
    ),
    "server_error": (
        "The server had an error while processing your request. Sorry about that!",
        "server_error",
        None,
    ),
}


class Answer(NamedTuple):
    """A complete HTTP answer."""

    status: int
    body: bytes
    kind: str = JSON_TYPE
    headers: tuple[tuple[str, str], ...] = ()


def error_answer(
    status: int, message: str, kind: str, code: str | None = None, param: str | None = None
) -> Answer:
    """An error in the API's own form."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return Answer(status, dump({"error": error}).encode())


def invalid_key() -> Answer:
    """The answer to a key that is wrong or no longer valid; it does not repeat the key."""
    message = "Incorrect API key provided. You can find your API key at https://platform.openai.com/account/api-keys."
    return error_answer(401, message, "invalid_request_error", "invalid_api_key")


def status_answer(fault: Fault) -> Answer:
    """The answer of a `status` fault."""
    status, options = int(fault.setting), fault.options
    form = options.get("body") or ("rate_limit_exceeded" if status == 429 else "server_error")
    headers = []
    if "retry-after" in options:
        wait = options["retry-after"]
        if wait.startswith("date:"):
            # Only the machine's clock means something to a client that reads a date.
            when = datetime.now(UTC) + timedelta(seconds=float(wait[5:]))
            wait = format_datetime(when, usegmt=True)
        headers.append(("Retry-After", wait))
    if "retry-after-ms" in options:
        headers.append(("retry-after-ms", options["retry-after-ms"]))
    if "should-retry" in options:
        headers.append(("x-should-retry", options["should-retry"]))
    if form == "html":
        return Answer(status, HTML, HTML_TYPE, tuple(headers))
    if form == "empty":
        return Answer(status, b"", JSON_TYPE, tuple(headers))
    if form == "problem+json":
        problem = {"type": "about:blank", "title": "Failure", "status": status, "detail": "no"}
        body = dump(problem).encode()
        return Answer(status, body, "application/problem+json", tuple(headers))
    return error_answer(status, *_MESSAGES[form])._replace(headers=tuple(headers))


def replaced(fault: Fault) -> Answer | None:
    """The answer of a fault that does not need the right one, or None."""
    if fault.kind == "status":
        return status_answer(fault)
    if fault.kind == "notjson":
        return Answer(200, b'{"object": "list", "data": [{"id": "ftjob-')
    if fault.kind == "html":
        return Answer(200, HTML, HTML_TYPE)
    if fault.kind == "empty":
        return Answer(200, b"")
    if fault.kind == "redirect":
        return Answer(307, b"", headers=(("Location", fault.setting),))
    return None


def spoiled(  # noqa: PLR0911 - one line for each way of spoiling
    fault: Fault, answer: Answer, before: bytes | None
) -> Answer:
    """The answer with its content spoiled; `before` is the list served last on this path.

    What is no list (or, for `missing`, no object) stays as it is.
    """
    text = answer.body.decode("utf-8", "replace")
    if answer.status != 200 or not text.startswith("{"):
        return answer
    if fault.kind == "missing":
        return answer._replace(body=_without(fault, text).encode())
    data = _data(text)
    if data is None:
        return answer
    if fault.kind == "envelope":
        return answer._replace(body=_misshapen(fault, text, data).encode())
    if fault.kind == "repeat":
        text = text if before is None else before.decode()
        return answer._replace(body=edited(text, {"has_more": True}).encode())
    last = _data(before.decode()) if before else None
    if not last:
        # Nothing was served before: the spoiling begins on the next page.
        return answer
    if fault.kind == "twice":
        return answer._replace(body=_with_data(text, [last[-1], *data]).encode())
    if fault.kind == "stuck":
        page = edited(_with_data(text, [*data[:-1], last[-1]]), {"has_more": True})
        return answer._replace(body=page.encode())
    return answer


def _data(text: str) -> list[str] | None:
    """The records of a list response, each in its own text."""
    found = members(text).get("data")
    if found is None or not isinstance(found.value, list):
        return None
    return [element.text for element in elements(found.text)]


def _with_data(text: str, records: list[str]) -> str:
    part = members(text)["data"]
    return f"{text[: part.start]}[{','.join(records)}]{text[part.start + len(part.text) :]}"


def _without(fault: Fault, text: str) -> str:
    records = _data(text)
    if records is None:
        return edited(text, {}, drop=fault.setting)
    count = len(records) if fault.options.get("record") == "all" else 1
    lacking = [edited(record, {}, drop=fault.setting) for record in records[:count]]
    return _with_data(text, [*lacking, *records[count:]])


def _misshapen(fault: Fault, text: str, data: list[str]) -> str:
    if fault.setting == "array":
        return f"[{','.join(data)}]"
    if fault.setting == "null":
        return edited(text, {"data": None})
    if fault.setting == "error":
        return dump({"error": {"message": "upstream failed", "type": "proxy", "code": 502}})
    if fault.setting == "no-has-more":
        return edited(text, {}, drop="has_more")
    return f'{{"items":[{",".join(data)}],"next":null}}'
