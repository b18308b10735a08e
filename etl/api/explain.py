"""A refused or failed answer becomes an error that tells a person what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urljoin, urlsplit

from etl.api import retry
from etl.api.masking import Cleaner
from etl.api.paths import Endpoint
from etl.api.problems import Problem, read_problem
from etl.errors import ApiContractError, ApiError, ApiRefused, Exchange, LongWait, TransientApiError
from etl.settings import Secret, Source

# Codes (or types) of a 429 that only a person can end.
_QUOTA = frozenset({"insufficient_quota"})

_ADVICE = {
    407: (
        "The proxy wants a user name and password: set them in HTTP_PROXY or HTTPS_PROXY, as "
        "http://user:password@host:port."
    ),
    408: "The server waited too long for the request.",
    429: "The server asks for fewer requests (rate limit).",
}

#: Codes of a key that names another project or organization than its own.
_MISMATCHED = ("mismatched_project", "mismatched_organization", "invalid_organization")

_HEADER = re.compile(r"OpenAI-(?:Project|Organization) header", re.IGNORECASE)

_SCOPES = re.compile(r"missing scopes?:?\s+([\w.-]+(?:,\s*[\w.-]+)*)", re.IGNORECASE)


@dataclass(frozen=True)
class Refusal:
    """An answer other than a good one, with what is needed to explain it. Never holds a key."""

    source: Source
    endpoint: Endpoint
    #: Names the origin of the key that was sent.
    key: Secret
    exchange: Exchange
    #: Names in lower case, or a mapping that does not mind.
    headers: Mapping[str, str] = field(repr=False)
    #: As much of it as was read.
    body: bytes = field(repr=False)
    #: When it came, in unix seconds.
    now: float
    clean: Cleaner = field(repr=False)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.exchange.status or 0


def explain(refusal: Refusal) -> ApiError:
    """The error for an answer whose status is not a good one. Pure."""
    clean = refusal.clean
    problem = read_problem(refusal.body)
    said = clean(problem.message)
    exchange = replace(refusal.exchange, code=clean(problem.code, 80) if problem.code else None)
    if refusal.status < 300:
        return ApiContractError("The server answered with a status that no read has.", exchange)
    if refusal.status < 400:
        return ApiRefused(_redirect(refusal), exchange)
    if {problem.code, problem.type} & _QUOTA:
        return ApiRefused(_quota(refusal) + _quoted(said, problem), exchange)
    return _verdict(refusal, _advice(refusal, said, problem) + _quoted(said, problem), exchange)


def _verdict(refusal: Refusal, sentence: str, exchange: Exchange) -> ApiError:
    """Is it refused, or is another try worth it, and after which wait?"""
    if retry.is_transient(refusal.status, refusal.headers):
        asked = retry.asked_wait(refusal.headers, refusal.now)
        if asked is not None and asked > retry.LONGEST_WAIT:
            return LongWait(sentence + _long(asked), exchange, retry_after=asked)
        return TransientApiError(sentence, exchange, retry_after=asked)
    if retry.is_transient_status(refusal.status):
        told = " It also says that trying again is of no use."
        return TransientApiError(sentence + told, exchange, retry=False)
    return ApiRefused(sentence, exchange)


def _advice(refusal: Refusal, said: str, problem: Problem) -> str:
    if refusal.status in {401, 403}:
        return _forbidden(refusal, said, problem)
    if refusal.status == 404:
        return _not_found(refusal)
    if refusal.status in _ADVICE:
        return _ADVICE[refusal.status]
    if refusal.status < 500:
        return "The server refused the request."
    if problem.is_page:
        return "A page came instead of JSON: something before the API failed (proxy, gateway)."
    return "The server failed."


def _forbidden(refusal: Refusal, said: str, problem: Problem) -> str:
    if (problem.code or "").startswith(_MISMATCHED) or _HEADER.search(said):
        return _elsewhere(refusal)
    source, key = refusal.source, refusal.key
    whose = f'The key from {key.origin} (source "{source.name}")'
    is_admin = key.known.startswith("sk-admin-")
    if is_admin and refusal.endpoint.key == "project":
        return (
            f"{whose} is an admin key. An admin key cannot list jobs: put a project key there, and "
            f"this one into {source.admin_key.origin}, for costs and projects."
        )
    scopes = _SCOPES.search(said)
    if scopes:
        return (
            f"{whose} lacks the scope {scopes[1]}. Give the key {refusal.endpoint.needs}, or use "
            "one that has it."
        )
    if refusal.endpoint.key == "admin" and source.provider == "openai" and not is_admin:
        return f"{whose} is no admin key, and only an admin key may read {refusal.exchange.path}."
    if refusal.status == 403:
        return (
            f"{whose} may not read {refusal.exchange.path}. It needs {refusal.endpoint.needs}; "
            "check its permissions, and organization and project where they are set."
        )
    return (
        f'The server does not accept the key from {key.origin} (source "{source.name}"). Check '
        f"that it is complete, not revoked, and a key for {_host(source.base_url)}."
    )


def _elsewhere(refusal: Refusal) -> str:
    source = refusal.source
    named = [
        f"{name} = {value!r}"
        for name, value in (("organization", source.organization), ("project", source.project))
        if value
    ]
    return (
        f'The key from {refusal.key.origin} (source "{source.name}") belongs to another project or '
        f"organization than the requests name: {', '.join(named) or 'none is set here'}. Set "
        "`project` and `organization` of the source (OPENAI_PROJECT_ID, OPENAI_ORG_ID) to the "
        "key's own, or leave them out."
    )


def _not_found(refusal: Refusal) -> str:
    source = refusal.source
    if "{" in refusal.endpoint.template:
        return "The server does not have this, or no longer."
    if refusal.endpoint.key == "admin" and source.provider != "openai":
        return f"This server has no {refusal.exchange.path}; only OpenAI itself does."
    advice = (
        f'There is no {refusal.exchange.path} under {source.base_url} (source "{source.name}"). '
        "Check base_url: "
    )
    if source.provider == "azure":
        return (
            f"{advice}it ends in /openai with an api-version in extra_query, or in /openai/v1 "
            "without one."
        )
    return f"{advice}for most servers it ends in /v1."


def _quota(refusal: Refusal) -> str:
    return (
        f'The account behind the key from {refusal.key.origin} (source "{refusal.source.name}") '
        "has used up its quota. A person must act: check plan, credit and limits with the "
        "provider. Trying again does not help."
    )


def _long(seconds: float) -> str:
    return (
        f" The server asks to wait {seconds:,.0f} s, and a run waits {retry.LONGEST_WAIT:.0f} s at "
        "most. Run the same command again after that; what this run has written stays."
    )


def _redirect(refusal: Refusal) -> str:
    """Name the target without its user, password and query, and the base_url it amounts to."""
    clean = refusal.clean
    location = refusal.headers.get("location", "")
    here = refusal.source.base_url.rstrip("/") + refusal.exchange.path if location else ""
    not_followed = "It was not followed, so that the key goes nowhere else."
    try:
        target = urlsplit(urljoin(here, location))
        port = target.port
    except ValueError:
        target, port = urlsplit(""), None
    if not target.hostname:
        return f"The server redirects, without a usable address. {not_followed} Check base_url."
    name = f"[{target.hostname}]" if ":" in target.hostname else target.hostname
    host = clean(name if port is None else f"{name}:{port}")
    base = f"{target.scheme}://{host}{clean(target.path)}"
    if base.endswith(refusal.exchange.path):
        advice = f"set base_url to {base.removesuffix(refusal.exchange.path)}"
    else:
        advice = "set base_url to the API's own address (this may be a login page)"
    return f"The server redirects to {host}. {not_followed} If that is right, {advice}."


def _quoted(said: str, problem: Problem) -> str:
    if not said:
        return ""
    whose = "The page's title" if problem.is_page else "The server says"
    return f" {whose}: “{said}”" + ("" if said.endswith((".", "!", "?", "…")) else ".")


def _host(url: str) -> str:
    return urlsplit(url).hostname or url
