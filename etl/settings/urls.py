"""What an address of a server or of a database may look like."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from etl.settings.text import has_controls, nearest

#: Databases this version can write to; `postgres` is what some hosts call `postgresql`.
DIALECTS = ("sqlite", "postgresql", "mysql", "mariadb")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*(\+[A-Za-z0-9_.-]+)?")


def database_problem(url: str) -> str | None:
    """What is wrong with a database URL, or None. Nothing but its scheme is quoted."""
    if has_controls(url) or url != url.strip():
        return "holds a line break, a control character or a space at its ends"
    scheme, mark, rest = url.partition("://")
    if not mark or not _SCHEME.fullmatch(scheme):
        return (
            "is no database URL; write sqlite:///ftmirror.db for a file, "
            "or postgresql://user@host/name"
        )
    dialect = scheme.partition("+")[0]
    if dialect not in (*DIALECTS, "postgres"):
        hint = nearest(dialect.lower(), DIALECTS)
        return f'unknown database "{dialect}"{hint}; known: {", ".join(DIALECTS)}'
    if dialect == "sqlite" and rest and not rest.startswith(("/", "?")):
        return "needs three slashes for a file, as sqlite:///ftmirror.db (four if absolute)"
    return None


def server_problem(url: str, *, allow_http: bool) -> str | None:
    """What is wrong with an API's base URL, or None. At most its host is quoted."""
    if has_controls(url) or any(char.isspace() for char in url):
        return "holds a space or a control character"
    try:
        parts = urlsplit(url)
        # Reading the port is what finds one that is no number.
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no URL; it must look like https://api.openai.com/v1"
    if parts.scheme not in ("http", "https") or not host:
        return "is no http(s) URL; it must look like https://api.openai.com/v1"
    return _unfit(parts) or _unsafe(parts.scheme, host, allow_http=allow_http)


def _unfit(parts: SplitResult) -> str | None:
    if parts.username is not None or parts.password is not None:
        return "must hold no user or password; name the key by api_key_env instead"
    if parts.query or parts.fragment:
        return "must end with its path; put what follows `?` into extra_query"
    return None


def _unsafe(scheme: str, host: str, *, allow_http: bool) -> str | None:
    if scheme == "https" or allow_http or is_loopback(host):
        return None
    return (
        f"plain http would send the key to {host} in the clear; use https, "
        "or set allow_http = true for this source in the configuration"
    )


def is_loopback(host: str) -> bool:
    """Whether this host is certainly this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
