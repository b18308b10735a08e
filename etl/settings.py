"""Settings: read the file and the environment once, check everything, freeze."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

#: Providers whose differences this version knows. `compatible`: any server with OpenAI's envelope.
PROVIDERS = ("openai", "azure", "compatible")


@dataclass(frozen=True)
class Secret:
    """Where a key comes from. The key itself is read only when a request needs it."""

    #: What a person would call its origin, as `OPENAI_API_KEY` or `file /run/secrets/key`.
    origin: str
    #: The key; empty where none was found. Never shown.
    value: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.value)

    def __str__(self) -> str:
        return f"<key from {self.origin}>"


@dataclass(frozen=True)
class Source:
    """One source: one key, one project, one server."""

    name: str = "default"
    provider: str = "openai"
    #: Whose ids these are; two sources of one id space see the same jobs.
    id_space: str = "openai"
    #: Without a trailing slash, as `https://api.openai.com/v1`.
    base_url: str = "https://api.openai.com/v1"
    api_key: Secret = field(default_factory=lambda: Secret("OPENAI_API_KEY"))
    admin_key: Secret = field(default_factory=lambda: Secret("OPENAI_ADMIN_KEY"))
    organization: str | None = None
    project: str | None = None
    #: Header that carries the key: `Authorization` (as a bearer token), or e.g. `api-key` (bare).
    auth_header: str = "Authorization"
    extra_headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    extra_query: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    #: Seconds.
    connect_timeout: float = 5.0
    read_timeout: float = 60.0
    #: Tries of one request, the first included.
    max_attempts: int = 8
    #: Seconds of waiting that one request may add up to.
    retry_budget: float = 300.0
    #: Bytes; a longer answer is refused.
    max_response_bytes: int = 256 * 1024 * 1024
    #: Plain http to another host than this one.
    allow_http: bool = False


@dataclass(frozen=True)
class Settings:
    """Everything a command may need to know, checked."""

    database_url: str = field(default="sqlite:///ftmirror.db", repr=False)
    #: Migrate a server database without asking. SQLite always is.
    auto_upgrade: bool = False
    sources: tuple[Source, ...] = (Source(),)
    #: The configuration file that was read, if any.
    path: Path | None = None
