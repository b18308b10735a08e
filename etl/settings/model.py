"""The settings as one frozen, picklable value."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qsl, unquote

from etl.errors import ConfigError, UsageError
from etl.settings.secret import ADDRESSES, Secret
from etl.settings.text import escaped, nearest

#: Providers whose differences this version knows. `compatible`: any server with OpenAI's envelope.
PROVIDERS = ("openai", "azure", "compatible")


#: Where alerts go, unless the configuration names another place.
ALERTS_VARIABLE = "FTMIRROR_ALERT_URLS"

#: More readers than this gain nothing on one machine, and look like an attack.
MOST_WORKERS = 64

#: What people call a header or a parameter that carries a secret; `X-Portkey-Provider` is none.
_SECRET_NAME = re.compile(
    r"(?:key|token|password|passwd|pwd|sig|signature|code|auth|authorization|credentials?)$|secret",
    re.IGNORECASE,
)
#: The same of a parameter of a database URL; `sslkey` and `passfile` name files.
_PASSWORD_NAME = re.compile(r"password|passwd|pwd|secret|token", re.IGNORECASE)
#: Between two addresses; a comma inside one is its own.
_NEXT_ADDRESS = re.compile(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)")
#: A host that everybody may know.
_HOST = re.compile(r"localhost|[0-9.]+|(?:[\w-]+\.)+[a-z]{2,24}", re.IGNORECASE)
#: Letters below which a piece of an address is no token.
_SHORTEST_TOKEN = 8
#: A header's value that is a word before a secret.
_SCHEME = re.compile(r"(?:Bearer|Basic|Token|ApiKey)\s+(\S+)", re.IGNORECASE)


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
    admin_key: Secret = field(
        default_factory=lambda: Secret("OPENAI_ADMIN_KEY", setting="admin_key")
    )
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
    #: Requests that may be sent in a minute, tries included; 0 for as many as there are.
    requests_per_minute: int = 0
    #: Requests under way at once, all within that pace.
    workers: int = 4
    #: Seconds after which the whole list of jobs is read again, and what is only looked at daily.
    full_every: float = 24 * 3600.0
    #: Seconds after a job's end until what hangs off it is taken to be all there.
    children_grace: float = 6 * 3600.0
    #: Seconds without a change after which an open job is read again only once a day.
    open_slow_after: float = 30 * 24 * 3600.0
    #: Seconds; so much of the past is read of the billed costs in each run, since it may change.
    costs_reread: float = 30 * 24 * 3600.0
    #: Bytes; a longer answer is refused.
    max_response_bytes: int = 256 * 1024 * 1024
    #: Plain http to another host than this one.
    allow_http: bool = False
    #: Header values that came from the environment, and so belong in no log.
    hidden: tuple[str, ...] = field(default=(), repr=False)
    #: What was named but is not there, in sentences. It matters only once the API is called.
    missing: tuple[str, ...] = ()

    def secrets(self) -> set[str]:
        """Every secret text of this source that is known by now; what nobody read nobody sent."""
        words = {self.api_key.known, self.admin_key.known, *self.hidden}
        named = (*self.extra_headers, *self.extra_query)
        words |= {value for name, value in named if _SECRET_NAME.search(name)}
        # `Bearer abc` may turn up as `abc`.
        words |= {found[1] for word in words if (found := _SCHEME.fullmatch(word))}
        return words - {""}


@dataclass(frozen=True)
class Limit:
    """What training may cost in a month (UTC): all of it, a project's, or what bears these tags."""

    #: Millionths of a US dollar.
    monthly_microusd: int
    project: str | None = None
    #: Pairs of metadata that a job must have, all of them, sorted.
    metadata: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """What it is a limit of, as `all`, `project proj_abc` or `metadata team=search`."""
        words = [f"project {self.project}"] if self.project is not None else []
        words += [f"metadata {name}={value}" for name, value in self.metadata]
        return ", ".join(words) or "all"


@dataclass(frozen=True)
class Settings:
    """Everything a command may need to know, checked."""

    database_url: str = field(default="sqlite:///ftmirror.db", repr=False)
    #: Migrate a server database without asking. SQLite always is.
    auto_upgrade: bool = False
    sources: tuple[Source, ...] = (Source(),)
    #: What training may cost in a month; the overall limit first.
    limits: tuple[Limit, ...] = ()
    #: Addresses that alerts go to, each a URL of apprise's.
    alert_urls: Secret = field(default_factory=lambda: Secret(ALERTS_VARIABLE, setting=ADDRESSES))
    #: The configuration file that was read, if any.
    path: Path | None = None
    #: The user's own price book, if there is one.
    prices_file: Path | None = None

    def chosen(self, names: Collection[str] = ()) -> tuple[Source, ...]:
        """The sources named, in the configuration's order; all of them where none is named.

        Raises UsageError for a name that no source has.
        """
        known = [source.name for source in self.sources]
        for name in names:
            if name not in known:
                raise UsageError(
                    f'there is no source "{escaped(name)}"{nearest(name, known)}; '
                    f"known: {', '.join(known)}"
                )
        return tuple(source for source in self.sources if not names or source.name in names)

    def hidden(self) -> tuple[str, ...]:
        """Every secret text known by now, for whoever has to keep them out of a log."""
        words = list(passwords(self.database_url))
        for source in self.sources:
            words += source.secrets()
        words += words_of_addresses(self.alert_urls.known)
        return tuple(words)


def require_keys(sources: Iterable[Source]) -> None:
    """Read the API key of each source; ConfigError with everything that is not there, at once."""
    problems: list[str] = []
    for source in sources:
        said = list(source.missing)
        try:
            source.api_key.read()
        except ConfigError as error:
            said += error.problems
        problems += [f'source "{source.name}": {problem}' for problem in said]
    if problems:
        raise ConfigError(problems)


def passwords(url: str) -> tuple[str, ...]:
    """The passwords in a URL, but for one that is also a name in it. Takes any text.

    A password equal to its user or database protects little, and hiding it everywhere would
    cut those names out of every message.
    """
    # By hand: a password may hold brackets, of which `urlsplit` makes an error.
    address = url.partition("://")[2] or url  # a proxy may be named without its scheme
    login, at, rest = address.rpartition("@")
    user, _, word = login.partition(":")
    word = unquote(word) if at else ""
    found = [] if word in user or word in rest else [word]
    query = (rest if at else address).partition("?")[2]
    for name, value in parse_qsl(query):
        if _PASSWORD_NAME.search(name):
            found.append(value)
    return tuple(found)


def split_addresses(text: str) -> list[str]:
    """The addresses of a list of them, as `slack://a/b/c, mailto://me:word@example.com`."""
    return [one for part in _NEXT_ADDRESS.split(text.strip()) if (one := part.strip(", "))]


def words_of_addresses(text: str) -> set[str]:
    """What is secret of such a list: each address, and each piece that may be a token."""
    words: set[str] = set()
    for url in split_addresses(text):
        rest = url.partition("://")[2]
        pieces = {unquote(piece) for piece in re.split(r"[/:@?&=,#]", rest)}
        words |= {one for one in pieces if len(one) >= _SHORTEST_TOKEN and not _HOST.fullmatch(one)}
        words |= {url, *passwords(url)}
    return words - {""}
