"""What each provider wants on a request. A new provider is one function here, and its name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from etl.api.paths import KeyKind
from etl.errors import ConfigError
from etl.settings import Secret, Source

Pairs = tuple[tuple[str, str], ...]

# An Entra token, beside which an Azure key has no dots.
_JSON_WEB_TOKEN = re.compile(r"eyJ[\w-]*\.[\w-]+\.[\w-]*")


@dataclass(frozen=True)
class Dress:
    """What one provider wants on every request with one kind of key."""

    #: The key that is used; to name its origin in a sentence.
    key: Secret
    #: The key's header among them.
    headers: Pairs = field(repr=False)
    query: Pairs = field(repr=False)


Provider = Callable[[Source, KeyKind], Dress]


def openai(source: Source, kind: KeyKind) -> Dress:
    """OpenAI itself: a bearer token, and two headers that choose organization and project."""
    key = key_of(source, kind)
    return Dress(
        key=key,
        headers=(
            *_scope(source, kind),
            *source.extra_headers,
            _key_header(source.auth_header, key),
        ),
        query=source.extra_query,
    )


def azure(source: Source, kind: KeyKind) -> Dress:
    """Azure OpenAI: an `api-key` header, or a bearer token where the key is an Entra token.

    `api-version` comes with the extra query, on every page. A resource is its own scope, so there
    are no headers for organization and project.
    """
    key = key_of(source, kind)
    header = source.auth_header
    if header.lower() == "authorization" and not _JSON_WEB_TOKEN.fullmatch(key.value):
        header = "api-key"
    return Dress(
        key=key,
        headers=(*source.extra_headers, _key_header(header, key)),
        query=source.extra_query,
    )


def compatible(source: Source, kind: KeyKind) -> Dress:
    """Any server with OpenAI's envelope: as OpenAI, the rest by header and query settings."""
    return openai(source, kind)


#: Every provider by the name that settings use.
PROVIDERS: dict[str, Provider] = {"openai": openai, "azure": azure, "compatible": compatible}


def dress(source: Source, kind: KeyKind) -> Dress:
    """What a request of this source must carry; reads its key when that was not done yet.

    Raises ConfigError, with how to set it, where the key or another named secret is not there.
    """
    problems = list(source.missing)
    try:
        key_of(source, kind).read()
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError([f'source "{source.name}": {problem}' for problem in problems])
    return PROVIDERS[source.provider](source, kind)


def key_of(source: Source, kind: KeyKind) -> Secret:
    """The one of a source's keys that opens paths of this kind; it may be empty."""
    return source.admin_key if kind == "admin" else source.api_key


def _key_header(name: str, key: Secret) -> tuple[str, str]:
    return name, f"Bearer {key.value}" if name.lower() == "authorization" else key.value


def _scope(source: Source, kind: KeyKind) -> Pairs:
    pairs = []
    if source.organization:
        pairs.append(("OpenAI-Organization", source.organization))
    # An admin key reads a whole organization; a project beside it could only narrow or confuse.
    if source.project and kind == "project":
        pairs.append(("OpenAI-Project", source.project))
    return tuple(pairs)
