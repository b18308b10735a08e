"""How one `[[sources]]` table, or the bare environment, becomes a Source."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from etl.settings.model import MOST_WORKERS, PROVIDERS, Source
from etl.settings.secret import Secret
from etl.settings.table import Table, header_problem, is_header_name
from etl.settings.text import escaped, nearest
from etl.settings.urls import server_problem

#: Every key a `[[sources]]` table may have.
KEYS = (
    "name",
    "provider",
    "id_space",
    "base_url",
    "api_key_env",
    "api_key_file",
    "api_key_command",
    "admin_key_env",
    "admin_key_file",
    "admin_key_command",
    "organization",
    "project",
    "auth_header",
    "extra_headers",
    "extra_headers_env",
    "extra_query",
    "connect_timeout",
    "read_timeout",
    "max_attempts",
    "retry_budget",
    "requests_per_minute",
    "workers",
    "full_every",
    "children_grace",
    "open_slow_after",
    "costs_reread",
    "max_response_bytes",
    "allow_http",
)

_DEFAULT = Source()


def from_environment(environ: Mapping[str, str], problems: list[str]) -> Source:
    """The one source of those who wrote no `[[sources]]`: what the official SDK would use."""
    place = "environment"
    base_url = environ.get("OPENAI_BASE_URL", "").strip().rstrip("/")
    problem = server_problem(base_url, allow_http=False) if base_url else None
    if problem:
        problems.append(f"{place}: OPENAI_BASE_URL: {problem}")
    headers = _custom_headers(environ.get("OPENAI_CUSTOM_HEADERS", ""), problems)
    names = {}
    for key in ("OPENAI_ORG_ID", "OPENAI_PROJECT_ID"):
        names[key] = environ.get(key, "").strip() or None
        unfit = header_problem(names[key] or "-")
        if unfit:
            problems.append(f"{place}: {key}: {unfit}")
    return Source(
        base_url=base_url or _DEFAULT.base_url,
        api_key=_from_variable("api_key", "OPENAI_API_KEY", environ),
        admin_key=_from_variable("admin_key", "OPENAI_ADMIN_KEY", environ),
        organization=names["OPENAI_ORG_ID"],
        project=names["OPENAI_PROJECT_ID"],
        extra_headers=headers,
        hidden=tuple(value for _, value in headers),
    )


def _custom_headers(text: str, problems: list[str]) -> tuple[tuple[str, str], ...]:
    """`OPENAI_CUSTOM_HEADERS`: lines `Name: value`."""
    found = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        name, colon, value = (part.strip() for part in line.partition(":"))
        problem = header_problem(value)
        if not colon or not is_header_name(name):
            problem = "must be `Name: value`"
        if problem:
            problems.append(f"environment: OPENAI_CUSTOM_HEADERS: line {number} {problem}")
        else:
            found.append((name, value))
    return tuple(found)


def from_table(table: Table, name: str, environ: Mapping[str, str], folder: Path) -> Source:
    """One `[[sources]]` table. `folder` is where its relative file names begin."""
    provider = _provider(table)
    allow_http = table.flag("allow_http", default=_DEFAULT.allow_http)
    api_name = "AZURE_OPENAI_API_KEY" if provider == "azure" else "OPENAI_API_KEY"
    # Only OpenAI has an admin API; its key must not wander to another server by default.
    admin_name = "OPENAI_ADMIN_KEY" if provider == "openai" else None
    extra_headers = table.headers("extra_headers")
    secret_headers, missing = _headers_from_environment(table, environ)
    extra_query = table.pairs("extra_query")
    return Source(
        name=name,
        provider=provider,
        id_space=table.name("id_space") or provider,
        base_url=_base_url(table, provider, environ, dict(extra_query), allow_http=allow_http),
        api_key=secret_of(table, "api_key", api_name, environ, folder),
        admin_key=secret_of(table, "admin_key", admin_name, environ, folder),
        organization=table.header("organization"),
        project=table.header("project"),
        auth_header=_auth_header(table, provider, extra_headers + secret_headers),
        extra_headers=extra_headers + secret_headers,
        extra_query=extra_query,
        connect_timeout=table.seconds("connect_timeout", _DEFAULT.connect_timeout),
        read_timeout=table.seconds("read_timeout", _DEFAULT.read_timeout),
        max_attempts=table.whole("max_attempts", _DEFAULT.max_attempts),
        retry_budget=table.seconds("retry_budget", _DEFAULT.retry_budget, zero=True),
        requests_per_minute=table.whole(
            "requests_per_minute", _DEFAULT.requests_per_minute, least=0
        ),
        workers=table.whole("workers", _DEFAULT.workers, most=MOST_WORKERS),
        full_every=table.seconds("full_every", _DEFAULT.full_every, zero=True),
        children_grace=table.seconds("children_grace", _DEFAULT.children_grace, zero=True),
        open_slow_after=table.seconds("open_slow_after", _DEFAULT.open_slow_after, zero=True),
        costs_reread=table.seconds("costs_reread", _DEFAULT.costs_reread, zero=True),
        max_response_bytes=table.whole("max_response_bytes", _DEFAULT.max_response_bytes),
        allow_http=allow_http,
        hidden=tuple(value for _, value in secret_headers),
        missing=missing,
    )


def _provider(table: Table) -> str:
    provider = table.text("provider") or "openai"
    if provider not in PROVIDERS:
        # A word as long as a key is more likely a key in the wrong place than a provider.
        said = f'"{escaped(provider)}" is unknown' if len(provider) <= 20 else "is unknown"
        known = ", ".join(PROVIDERS)
        table.bad("provider", f"{said}{nearest(provider, PROVIDERS)}; known: {known}")
        return "openai"
    return provider


def _base_url(
    table: Table,
    provider: str,
    environ: Mapping[str, str],
    query: Mapping[str, str],
    *,
    allow_http: bool,
) -> str:
    url = (table.text("base_url") or "").rstrip("/")
    if not url and provider == "openai" and "base_url" not in table:
        url = environ.get("OPENAI_BASE_URL", "").strip().rstrip("/")
    if not url:
        if provider != "openai" and "base_url" not in table:
            example = {
                "azure": "https://NAME.openai.azure.com/openai/v1",
                "compatible": "https://proxy.example/v1",
            }[provider]
            table.bad("base_url", f'is missing; {provider} needs it, as "{example}"')
        return _DEFAULT.base_url
    problem = server_problem(url, allow_http=allow_http)
    if not problem and provider == "azure":
        problem = _azure_problem(url, query)
    if problem:
        where = "base_url" if "base_url" in table else "OPENAI_BASE_URL (for base_url)"
        table.bad(where, problem)
    return url


def _azure_problem(url: str, query: Mapping[str, str]) -> str | None:
    """Azure has two addresses: a dated one that wants `api-version` with each request, and v1."""
    path = urlsplit(url).path
    if path.endswith("/openai") and not query.get("api-version"):
        return (
            "this form needs a version: end it in /openai/v1, "
            'or set extra_query = {api-version = "2024-10-21"}'
        )
    if not path:
        return "lacks its path; it must end in /openai/v1, or in /openai with an api-version"
    return None


def _auth_header(table: Table, provider: str, extra: tuple[tuple[str, str], ...]) -> str:
    header = table.text("auth_header")
    if header is not None and not is_header_name(header):
        table.bad("auth_header", 'is not a header\'s name, as "Authorization" or "api-key"')
        header = None
    header = header or ("api-key" if provider == "azure" else _DEFAULT.auth_header)
    for name, _ in extra:
        if name.lower() == header.lower():
            table.bad(
                f"extra_headers.{name}",
                "is the header of the key itself; name the key by api_key_env instead",
            )
    return header


def _headers_from_environment(
    table: Table, environ: Mapping[str, str]
) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The headers whose values the environment has, and sentences about those it has not."""
    found, missing = [], []
    for name, variable in table.variables("extra_headers_env"):
        value = environ.get(variable, "").strip()
        if not value:
            missing.append(f"header {name}: {variable} is not set; `export {variable}=…`")
        elif problem := header_problem(value):
            table.bad(f"extra_headers_env.{name}", f"what {variable} says {problem}")
        else:
            found.append((name, value))
    return tuple(found), tuple(missing)


def secret_of(
    table: Table, stem: str, default: str | None, environ: Mapping[str, str], folder: Path
) -> Secret:
    """The key that `<stem>_env`, `<stem>_file` or `<stem>_command` names; else the default's."""
    named = [f"{stem}_{way}" for way in ("env", "file", "command") if f"{stem}_{way}" in table]
    if len(named) > 1:
        table.bad(" and ".join(named), f"only one may say where the {stem} is")
    variable = table.variable(f"{stem}_env")
    file = table.text(f"{stem}_file")
    command = table.text(f"{stem}_command")
    if variable:
        return _from_variable(stem, variable, environ)
    if file:
        return Secret(f"file {file}", file=_at(folder, file), setting=stem)
    if command:
        return Secret(f"command {_program(table, stem, command)}", command=command, setting=stem)
    if default is None:
        return Secret("nowhere: none is named", setting=stem)
    return _from_variable(stem, default, environ)


def _from_variable(stem: str, variable: str, environ: Mapping[str, str]) -> Secret:
    return Secret(variable, environ.get(variable, ""), setting=stem)


def _at(folder: Path, file: str) -> Path:
    return Path(file) if file.startswith("~") else folder / file


def _program(table: Table, stem: str, command: str) -> str:
    """The command's program, which is all that messages show: its arguments may hold a token."""
    try:
        return shlex.split(command)[0]
    except (ValueError, IndexError):
        table.bad(
            f"{stem}_command", "cannot be split into words; check its quotes, as in \"a 'b c'\""
        )
        return "?"
