"""Every path that may be read, and how each is read. Nothing else can be asked for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

#: Which of a source's two keys opens a path.
KeyKind = Literal["project", "admin"]

#: How a list goes on: `after` the id of its last item, or at the `page` that the answer names.
CursorRule = Literal["after", "page"]

_FINE_TUNING = "read on fine-tuning (scope api.fine_tuning.jobs.read)"
_FILES = "read on files"
_ORGANIZATION = "read on the organization (an admin key)"


@dataclass(frozen=True)
class Endpoint:
    """One GET path and what is known about it."""

    #: As `/fine_tuning/jobs/{job_id}/events`.
    template: str
    key: KeyKind
    #: What a key must be allowed to do, in the words of a person who makes keys.
    needs: str
    #: None for a path that is not a list.
    cursor: CursorRule | None = None
    #: Items (days, for costs) to ask for at once; None for a path that is not a list.
    page_size: int | None = None
    #: Sent with every request.
    params: tuple[tuple[str, str], ...] = ()
    accept: str = "application/json"


# 100 is the widely used page of jobs; no maximum is documented, and above it a server may refuse.
# Files allow 10,000, but an answer of that size is worth no fewer round trips to most accounts.
_KNOWN = (
    Endpoint("/fine_tuning/jobs", "project", _FINE_TUNING, "after", 100),
    Endpoint("/fine_tuning/jobs/{job_id}", "project", _FINE_TUNING),
    Endpoint("/fine_tuning/jobs/{job_id}/events", "project", _FINE_TUNING, "after", 100),
    Endpoint("/fine_tuning/jobs/{job_id}/checkpoints", "project", _FINE_TUNING, "after", 100),
    Endpoint(
        "/fine_tuning/checkpoints/{model}/permissions",
        "admin",
        "read on checkpoint permissions (an admin key)",
        "after",
        100,
    ),
    Endpoint("/files", "project", _FILES, "after", 1000),
    Endpoint("/files/{file_id}", "project", _FILES),
    Endpoint("/files/{file_id}/content", "project", _FILES, accept="application/binary, */*"),
    Endpoint("/organization/costs", "admin", _ORGANIZATION, "page", 180),
    Endpoint(
        "/organization/projects",
        "admin",
        _ORGANIZATION,
        "after",
        100,
        # Without it the past of every archived project would be missing.
        params=(("include_archived", "true"),),
    ),
)

#: Every endpoint by its template.
ENDPOINTS: dict[str, Endpoint] = {endpoint.template: endpoint for endpoint in _KNOWN}

_PLACEHOLDER = re.compile(r"\{\w+\}")
# One path segment as it must arrive here: percent-encoded, so that a colon, a slash or a question
# mark in a name can never make another path; and never `.` or `..`, which clients resolve away.
_SEGMENT = r"(?!\.{1,2}(?:/|$))(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2})+"
_PATTERNS = [
    (
        re.compile(_SEGMENT.join(map(re.escape, _PLACEHOLDER.split(endpoint.template)))),
        re.compile(r"\{\w+\}".join(map(re.escape, _PLACEHOLDER.split(endpoint.template)))),
        endpoint,
    )
    for endpoint in _KNOWN
]


def find(path: str) -> Endpoint:
    """The endpoint of a path, or of a template whatever its placeholders are called.

    Raises ValueError for a path that is not known.
    """
    for filled, template, endpoint in _PATTERNS:
        if filled.fullmatch(path) or template.fullmatch(path):
            return endpoint
    known = ", ".join(ENDPOINTS)
    raise ValueError(f"{path!r} is not a known path; known are {known} (filled by paths.fill)")


def fill(template: str, *values: str) -> str:
    """Put percent-encoded values into a template, in order.

    Raises ValueError for an unknown template, another number of values than it has places, or a
    value that no path can hold (empty, `.`, `..`).
    """
    find(template)
    places = len(_PLACEHOLDER.findall(template))
    if places != len(values):
        raise ValueError(f"{template} takes {places} values, not {len(values)}")
    for value in values:
        if value in {"", ".", ".."}:
            raise ValueError(f"{value!r} cannot be part of a path")
    encoded = iter([quote(value, safe="") for value in values])
    return _PLACEHOLDER.sub(lambda _: next(encoded), template)


def is_filled(path: str) -> bool:
    """Are all the places of this path taken by values?"""
    return "{" not in path
