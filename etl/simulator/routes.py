"""The paths of the API: which request gets which answer."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote

from . import clock
from .dice import mix
from .money import GROUPS
from .slices import dump
from .spoil import Answer, error_answer, invalid_key
from .world import Page, UnknownCursorError, UnknownIdError, World, cut

#: No published maximum is known; a longer page is cut to this without a word.
MOST_JOBS = 1_000
_FIRST_AND_LAST = ("checkpoints", "files", "permissions", "projects")


class BadRequestError(ValueError):
    """A request the API refuses with 400; `param` is the parameter at fault."""

    def __init__(self, message: str, param: str) -> None:
        self.param = param
        super().__init__(message)


class Request(NamedTuple):
    """A GET request, its path without the base (`/v1`)."""

    path: str
    query: str
    key: str | None
    #: Below `/openai/` with an `api-version`, as Azure's dated form is.
    dated: bool = False


class Query:
    """The parameters of a request."""

    def __init__(self, text: str) -> None:
        self.pairs = parse_qsl(text, keep_blank_values=True)

    def text(self, name: str) -> str | None:
        """The last value given, or None."""
        return next((value for key, value in reversed(self.pairs) if key == name), None)

    def number(self, name: str, default: int, most: int, *, clip: bool = False) -> int:
        """A whole number from 1 to `most`; a larger one is refused, or clipped."""
        value = self.text(name)
        if value is None:
            return default
        if not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < 1:
            raise BadRequestError(f"Invalid value for '{name}': {value!r}.", name)
        if int(value) > most and not clip:
            raise BadRequestError(f"'{name}' must be at most {most}, not {value}.", name)
        return min(int(value), most)

    def time(self, name: str) -> int | None:
        """Unix seconds, or None."""
        value = self.text(name)
        if value is not None and not re.fullmatch(r"[0-9]{1,12}", value):
            raise BadRequestError(f"Invalid value for '{name}': {value!r}.", name)
        return None if value is None else int(value)

    def many(self, name: str) -> list[str]:
        """All values of an array, repeated (`a=1&a=2`) or bracketed (`a[]=1&a[]=2`)."""
        return [value for key, value in self.pairs if key in (name, f"{name}[]")]

    def metadata(self) -> dict[str, str] | bool | None:
        """The pairs asked for; None for jobs without metadata; False without a filter."""
        pairs = {}
        for key, value in self.pairs:
            match = re.fullmatch(r"metadata\[(.*)\]", key)
            if match:
                pairs[match[1]] = value
        if not pairs and self.text("metadata") == "null":
            return None
        return pairs or False


class Routes:
    """Answers GET requests from a world."""

    def __init__(
        self, world: World, *, refused_keys: Iterable[str] = (), unknown_after: str = "empty"
    ) -> None:
        if unknown_after not in {"empty", "error"}:
            raise ValueError(f"unknown_after is {unknown_after!r}; known are empty, error")
        self._world = world
        self._azure = world.provider == "azure"
        self._refused = frozenset(refused_keys)
        self._unknown_after = unknown_after

    def role(self, key: str | None) -> str:
        """What a key may do: `none`, `refused`, `admin` or `project`."""
        if not key:
            return "none"
        if key in self._refused:
            return "refused"
        return "admin" if key.startswith("sk-admin") else "project"

    def answer(self, request: Request) -> Answer:
        """The answer to a request."""
        parts = [unquote(part) for part in request.path.strip("/").split("/")]
        name, handler = self._find(parts)
        denied = self._denied(self.role(request.key), name)
        if denied is not None:
            return denied
        unversioned = self._azure and request.dated and not Query(request.query).text("api-version")
        if handler is None or unversioned:
            return self._missing_path(request)
        try:
            with self._world.lock:
                return handler(parts, Query(request.query))
        except (UnknownIdError, UnknownCursorError, BadRequestError) as error:
            return self._failed(name, error)

    def _failed(self, name: str, error: Exception) -> Answer:
        if isinstance(error, BadRequestError):
            return error_answer(400, str(error), "invalid_request_error", None, error.param)
        if isinstance(error, UnknownIdError):
            return self._missing(name, str(error))
        if self._unknown_after == "empty":
            return self._list(name, Page([], has_more=False))
        message = f"No such object to list after: {error}"
        return error_answer(404, message, "invalid_request_error", None, "after")

    def _find(
        self, parts: Sequence[str]
    ) -> tuple[str, Callable[[Sequence[str], Query], Answer] | None]:
        for pattern, name, handler in (
            (("fine_tuning", "jobs"), "jobs", self._jobs),
            (("fine_tuning", "jobs", ""), "job", self._job),
            (("fine_tuning", "jobs", "", "events"), "events", self._events),
            (("fine_tuning", "jobs", "", "checkpoints"), "checkpoints", self._checkpoints),
            (("fine_tuning", "checkpoints", "", "permissions"), "permissions", self._permissions),
            (("files",), "files", self._files),
            (("files", ""), "file", self._file),
            (("files", "", "content"), "file", self._content),
            (("organization", "costs"), "costs", self._costs),
            (("organization", "projects"), "projects", self._projects),
        ):
            fits = all(want in ("", part) for want, part in zip(pattern, parts, strict=False))
            if len(pattern) == len(parts) and fits:
                foreign = self._azure and name in {"permissions", "costs", "projects"}
                return name, None if foreign else handler
        return "", None

    # Refusals

    def _denied(self, role: str, name: str) -> Answer | None:
        if self._azure:
            if role in {"none", "refused"}:
                message = (
                    "Access denied due to invalid subscription key or wrong API endpoint. Make "
                    "sure to provide a valid key for an active subscription."
                )
                return _azure_error(401, "401", message)
            return None
        if role == "none":
            message = (
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY)."
            )
            return error_answer(401, message, "invalid_request_error")
        if role == "refused":
            return invalid_key()
        admin = name in {"permissions", "costs", "projects"}
        if admin == (role == "admin") or not name:
            return None
        scope = {
            "costs": "api.usage.read", "projects": "api.management.read",
            "permissions": "api.fine_tuning.checkpoints.read", "files": "api.files.read",
            "file": "api.files.read",
        }.get(name, "api.fine_tuning.jobs.read")  # fmt: skip
        message = f"You have insufficient permissions for this operation. Missing scopes: {scope}."
        return error_answer(403 if admin else 401, message, "invalid_request_error")

    def _missing_path(self, request: Request) -> Answer:
        if self._azure:
            return _azure_error(404, "404", "Resource not found")
        message = f"Invalid URL (GET /v1{request.path})"
        return error_answer(404, message, "invalid_request_error")

    def _missing(self, name: str, what: str) -> Answer:
        if self._azure:
            return _azure_error(404, "resourceNotFound", f"Resource {what!r} was not found.")
        if name == "file":
            message = f"No such File object: {what}"
            return error_answer(404, message, "invalid_request_error", None, "id")
        if name == "permissions":
            message = f"The model '{what}' does not exist"
            return error_answer(404, message, "invalid_request_error", "model_not_found")
        message = f"Could not find fine tune: {what}"
        return error_answer(
            404, message, "invalid_request_error", "fine_tune_not_found", "fine_tune_id"
        )

    # Answers

    def _list(self, name: str, page: Page) -> Answer:
        parts = ['{"object":"list","data":[', ",".join(text for _, text in page.items), "]"]
        if name in _FIRST_AND_LAST and not self._azure:
            first = page.items[0][0] if page.items else None
            last = page.items[-1][0] if page.items else None
            if name == "files":
                first, last = first or "", last or ""
            parts.append(f',"first_id":{dump(first)},"last_id":{dump(last)}')
        if name != "files" or not self._azure:
            parts.append(f',"has_more":{dump(page.has_more)}')
        parts.append("}")
        return Answer(200, "".join(parts).encode())

    def _jobs(self, _parts: Sequence[str], query: Query) -> Answer:
        limit = query.number("limit", 20, MOST_JOBS, clip=True)
        return self._list("jobs", self._world.jobs(query.text("after"), limit, query.metadata()))

    def _job(self, parts: Sequence[str], _query: Query) -> Answer:
        return Answer(200, self._world.job(parts[2]).encode())

    def _events(self, parts: Sequence[str], query: Query) -> Answer:
        limit = query.number("limit", 20, MOST_JOBS, clip=True)
        return self._list("events", self._world.events(parts[2], query.text("after"), limit))

    def _checkpoints(self, parts: Sequence[str], query: Query) -> Answer:
        limit = query.number("limit", 10, MOST_JOBS, clip=True)
        page = self._world.checkpoints(parts[2], query.text("after"), limit)
        return self._list("checkpoints", page)

    def _permissions(self, parts: Sequence[str], query: Query) -> Answer:
        order = _choice(query, "order", ("descending", "ascending"))
        project = query.text("project_id")
        found = self._world.permissions(parts[2])
        items = [(one[0], one[1]) for one in found if project in (None, one[2])]
        ordered = items if order == "descending" else items[::-1]
        limit = query.number("limit", 10, MOST_JOBS, clip=True)
        return self._list("permissions", cut(ordered, query.text("after"), limit))

    def _files(self, _parts: Sequence[str], query: Query) -> Answer:
        rising = _choice(query, "order", ("desc", "asc")) == "asc"
        limit, after = query.number("limit", 10_000, 10_000), query.text("after")
        if self._azure:
            # Azure does not page its files.
            limit, after = 10_000_000, None
        page = self._world.files(after, limit, query.text("purpose"), rising=rising)
        return self._list("files", page)

    def _file(self, parts: Sequence[str], _query: Query) -> Answer:
        return Answer(200, self._world.file(parts[1]).encode())

    def _content(self, parts: Sequence[str], _query: Query) -> Answer:
        return Answer(200, self._world.file_content(parts[1]), "application/octet-stream")

    def _projects(self, _parts: Sequence[str], query: Query) -> Answer:
        archived = _choice(query, "include_archived", ("false", "true", "False", "True"))
        projects = self._world.money.projects(archived=archived.lower() == "true")
        limit = query.number("limit", 20, 100)
        return self._list("projects", cut(projects, query.text("after"), limit))

    def _costs(self, _parts: Sequence[str], query: Query) -> Answer:
        start, end = query.time("start_time"), query.time("end_time")
        if start is None:
            raise BadRequestError("Missing required parameter: 'start_time'.", "start_time")
        _choice(query, "bucket_width", ("1d",))
        groups = query.many("group_by")
        for group in groups:
            if group not in GROUPS:
                raise BadRequestError(f"Invalid value for 'group_by': {group!r}.", "group_by")
        limit, page = query.number("limit", 7, 180), query.text("page")
        first = start - start % clock.DAY
        if page is not None:
            first = _page_start(page)
        # Days that have not begun are not reported.
        end = min(end or self._world.now, self._world.now)
        starts = range(first, end, clock.DAY)
        projects, keys = query.many("project_ids"), query.many("api_key_ids")
        buckets = [self._world.cost_bucket(at, groups, projects, keys) for at in starts[:limit]]
        more = len(starts) > limit
        following = dump(_page_name(starts[limit]) if more else None)
        body = (
            f'{{"object":"page","data":[{",".join(buckets)}],'
            f'"has_more":{dump(more)},"next_page":{following}}}'
        )
        return Answer(200, body.encode())


def _choice(query: Query, name: str, choices: Sequence[str]) -> str:
    value = query.text(name)
    if value is None:
        return choices[0]
    if value not in choices:
        raise BadRequestError(f"Invalid value for '{name}': {value!r}.", name)
    return value


def _page_name(start: int) -> str:
    # The check digits keep clients from making cursors of their own.
    return f"page_{start:x}_{mix(start) % 0xFFFF:04x}"


def _page_start(page: str) -> int:
    match = re.fullmatch(r"page_([0-9a-f]{1,12})_[0-9a-f]{4}", page)
    if not match or _page_name(int(match[1], 16)) != page:
        raise BadRequestError("Invalid value for 'page'.", "page")
    return int(match[1], 16)


def _azure_error(status: int, code: str, message: str) -> Answer:
    error = {"code": code, "message": message}
    return Answer(status, dump({"error": error}).encode())


def template(path: str) -> str:
    """The path with ids replaced, for counting; `other` for a path the API does not have."""
    parts = path.strip("/").split("/")
    if parts in (["fine_tuning", "jobs"], ["organization", "costs"], ["organization", "projects"]):
        return "/" + "/".join(parts)
    if parts[:2] == ["fine_tuning", "jobs"] and len(parts) == 3:
        return "/fine_tuning/jobs/{id}"
    if parts[:2] == ["fine_tuning", "jobs"] and parts[3:] in (["events"], ["checkpoints"]):
        return "/fine_tuning/jobs/{id}/" + parts[3]
    if parts[:2] == ["fine_tuning", "checkpoints"] and parts[3:] == ["permissions"]:
        return "/fine_tuning/checkpoints/{model}/permissions"
    if parts[0] == "files" and (len(parts) < 3 or parts[2:] == ["content"]):
        return "/".join(["", "files", "{id}", "content"][: len(parts) + 1])
    return "other"
