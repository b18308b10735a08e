"""The client: known paths, GET only, one request after the other, every failure explained."""

from __future__ import annotations

import contextlib
import logging
import random as random_module
import re
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar
from urllib.parse import urlencode, urlsplit

import requests
from requests.auth import AuthBase
from requests.utils import get_auth_from_url
from tenacity import RetryCallState

import etl
from etl.api import paths, providers, retry
from etl.api.body import CODINGS, pieces
from etl.api.border import FAILURES, translate
from etl.api.explain import Refusal, explain
from etl.api.gate import Gate
from etl.api.masking import Cleaner
from etl.errors import ApiRefused, ConfigError, Exchange, SpoiltAnswer, TransientApiError
from etl.settings import Source
from etl.settings.urls import is_loopback, server_problem

logger = logging.getLogger(__name__)

# urllib3 logs whole URLs at debug and warning level, and a query may hold a key. The lines below
# say the same without.
logging.getLogger("urllib3").setLevel(logging.ERROR)

# Enough of a failed answer to understand it.
_ENOUGH = 64 * 1024
# 203: a proxy on the way changed something, which is what company proxies do.
_GOOD = (200, 203)


@dataclass(frozen=True)
class Answer:
    """A good answer, read to its end."""

    body: bytes = field(repr=False)
    exchange: Exchange
    #: As sent, without parameters, in lower case: `application/json`; empty where not sent.
    content_type: str = ""


Found = TypeVar("Found")

#: A path, what is accepted, and the headers of the provider: one request, whatever its query.
_Occasion = tuple[str, str, providers.Pairs]

#: Told before each wait: what failed, the wait in seconds, how many tries there were.
OnRetry = Callable[[TransientApiError | SpoiltAnswer, float, int], None]


class Client:
    """Reads one source. For one thread: parallel readers have a client each, and share a gate.

    Raises ConfigError for an address that must not be used. `sleep`, `now` (unix seconds) and
    `random` (0 to 1) are passed in, so that tests neither wait nor guess.
    """

    def __init__(
        self,
        source: Source,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.time,
        random: Callable[[], float] = random_module.random,
        on_retry: OnRetry | None = None,
        gate: Gate | None = None,
    ) -> None:
        problem = server_problem(source.base_url, allow_http=source.allow_http)
        if problem:
            raise ConfigError([f'source "{source.name}": base_url {problem}'])
        self.source = source
        #: Requests sent, tries included.
        self.requests = 0
        #: Waits before another try.
        self.retries = 0
        self._proxy_secrets: frozenset[str] = frozenset()
        self._clean: tuple[int, Cleaner] | None = None
        self._now = now
        self._gate = gate or Gate(source.requests_per_minute, sleep=sleep, now=now)
        self._rested_until = 0.0
        self._on_retry = on_retry
        self._session = requests.Session()
        #: The last request, and for what it was made but for its query.
        self._last: tuple[_Occasion, requests.PreparedRequest, str] | None = None
        #: What the environment says of proxies and certificates, once it was asked.
        self._settings: Mapping[str, Any] | None = None
        self._policy = retry.policy(
            max_attempts=source.max_attempts,
            budget=source.retry_budget,
            sleep=sleep,
            random=random,
            before_sleep=self._before_sleep,
        )

    def __repr__(self) -> str:
        return f"<Client of source {self.source.name}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def get(self, path: str, params: Iterable[tuple[str, str]] = ()) -> Answer:
        """Read one path below the base URL, with as many tries as the settings allow.

        Raises ValueError for a path that is not known, ConfigError when there is no key for it,
        and an ApiError that says what to do for everything else.
        """
        return self.read(path, _as_it_is, params)

    def read(
        self,
        path: str,
        take: Callable[[Answer], Found],
        params: Iterable[tuple[str, str]] = (),
    ) -> Found:
        """What `take` finds in the answer of a path.

        An answer that it takes for a SpoiltAnswer may have been spoilt on its way, so it is
        asked for again a few times. Raises what `get` raises.
        """
        endpoint = paths.find(path)
        if not paths.is_filled(path):
            raise ValueError(f"{path} still needs its values: use paths.fill")
        dress = providers.dress(self.source, endpoint.key)
        query = _query(endpoint, dress, params)

        def once() -> Found:
            return take(self._try(endpoint, path, dress, query))

        found: Found = self._policy(once)
        return found

    def _try(
        self,
        endpoint: paths.Endpoint,
        path: str,
        dress: providers.Dress,
        query: list[tuple[str, str]],
    ) -> Answer:
        occasion = (path, endpoint.accept, dress.headers)
        exchange = Exchange(path)
        self._gate.wait(self._rested_until)
        began = time.perf_counter()
        self.requests += 1
        try:
            with self._send(self._request(occasion, query)) as response:
                exchange = self._exchange(path, response)
                if response.status_code in _GOOD:
                    body = self._read(response, exchange)
                    return Answer(body, exchange, _content_type(response))
                refusal = Refusal(
                    source=self.source,
                    endpoint=endpoint,
                    key=dress.key,
                    exchange=exchange,
                    headers=response.headers,
                    body=_read_some(response),
                    now=self._now(),
                    clean=self._cleaner(),
                )
            error = explain(refusal)
        except FAILURES as failure:
            error = translate(failure, self.source, exchange)
        finally:
            logger.debug("%s, %d ms", exchange, (time.perf_counter() - began) * 1000)
        # Raised out here, so that no link leads to an exception whose text may hold a secret.
        raise error

    def _request(
        self, occasion: _Occasion, query: list[tuple[str, str]]
    ) -> requests.PreparedRequest:
        """The request with this query; the rest of it is made once for all pages of a list."""
        path, accept, headers = occasion
        last = self._last  # a reader that was left behind may still use this client
        if last is None or last[0] != occasion:
            plain = requests.Request(
                "GET",
                self.source.base_url.rstrip("/") + path,
                headers={
                    "Accept": accept,
                    "Accept-Encoding": CODINGS,
                    "User-Agent": f"ftmirror/{etl.__version__}",
                },
                auth=_Headers(headers),
            )
            prepared = self._session.prepare_request(plain)
            last = self._last = occasion, prepared, prepared.url or ""
        _, prepared, url = last
        # A base URL has no query of its own (`server_problem`).
        prepared = prepared.copy()
        prepared.url = f"{url}?{urlencode(query)}" if query else url
        return prepared

    def _send(self, prepared: requests.PreparedRequest) -> requests.Response:
        """Send to the adapter itself: no redirects, no cookies; proxies and CA as users expect."""
        url = prepared.url or ""
        settings = self._settings
        if settings is None:  # reading the environment takes as long as the rest of a request
            settings = self._session.merge_environment_settings(url, {}, True, None, None)
            self._proxy_secrets = _proxy_secrets(settings["proxies"])
            if _stays_here(url):
                settings = {**settings, "proxies": {}}
            self._settings = settings
        return self._session.get_adapter(url).send(
            prepared,
            stream=True,
            timeout=(self.source.connect_timeout, self.source.read_timeout),
            verify=settings["verify"] or True,
            cert=settings["cert"],
            proxies=settings["proxies"],
        )

    def _read(self, response: requests.Response, exchange: Exchange) -> bytes:
        found, size = [], 0
        for piece in pieces(response):
            found.append(piece)
            size += len(piece)
            if size > self.source.max_response_bytes:
                raise ApiRefused(
                    f"The answer is longer than {self.source.max_response_bytes:,} bytes. If it "
                    "may be, raise max_response_bytes.",
                    exchange,
                )
        if _is_cut(response):
            raise TransientApiError("The answer was cut.", exchange)
        return b"".join(found)

    def _exchange(self, path: str, response: requests.Response) -> Exchange:
        names = ("x-request-id", "apim-request-id")
        found = next((value for name in names if (value := response.headers.get(name))), "")
        shown = self._cleaner()(found, 80) if found else ""
        return Exchange(path, response.status_code, shown or None)

    def _cleaner(self) -> Cleaner:
        # Made anew once another secret is known: keys are read late.
        keys = self.source.api_key.known, self.source.admin_key.known
        known = hash((keys, self._proxy_secrets))
        if self._clean is None or self._clean[0] != known:
            self._clean = known, Cleaner(self.source, self._proxy_secrets)
        return self._clean[1]

    def _before_sleep(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if not isinstance(error, TransientApiError | SpoiltAnswer):  # nothing else is retried
            return
        asked = error.retry_after if isinstance(error, TransientApiError) else None
        if (asked or 0) > 0:  # what one was asked is meant for all readers
            self._rested_until = self._gate.close(state.upcoming_sleep)
        self.retries += 1
        logger.warning(
            "Try %d of %d failed, the next in %.1f s: %s",
            state.attempt_number,
            retry.most_tries(error, self.source.max_attempts),
            state.upcoming_sleep,
            error,
        )
        if self._on_retry:
            self._on_retry(error, state.upcoming_sleep, state.attempt_number)


class _Headers(AuthBase):
    """Puts on the provider's headers. Being an `auth`, it keeps requests from asking .netrc."""

    def __init__(self, headers: providers.Pairs) -> None:
        self._headers = headers

    def __call__(self, r: requests.PreparedRequest) -> requests.PreparedRequest:
        r.headers.update(self._headers)
        return r


def _as_it_is(answer: Answer) -> Answer:
    return answer


def _query(
    endpoint: paths.Endpoint, dress: providers.Dress, params: Iterable[tuple[str, str]]
) -> list[tuple[str, str]]:
    """All parameters. One of extra_query replaces ours, but never the place in a list."""
    extra = [pair for pair in dress.query if pair[0] != endpoint.cursor]
    replaced = {name for name, _ in extra}
    ours = [pair for pair in (*endpoint.params, *params) if pair[0] not in replaced]
    return ours + extra


def _stays_here(url: str) -> bool:
    """Is this plain http to this very machine? A proxy would get the key in the clear."""
    parts = urlsplit(url)
    return parts.scheme == "http" and is_loopback(parts.hostname or "")


def _proxy_secrets(proxies: Mapping[str, str]) -> frozenset[str]:
    """The passwords of these proxies, also as the header that carries them."""
    secrets: set[str] = set()
    for proxy in proxies.values():
        user, password = "", ""
        with contextlib.suppress(ValueError):  # what is no URL is refused further down
            user, password = get_auth_from_url(proxy)
        if password:
            secrets.update((password, b64encode(f"{user}:{password}".encode()).decode()))
    return frozenset(secrets)


def _content_type(response: requests.Response) -> str:
    return response.headers.get("Content-Type", "").split(";")[0].strip().lower()


def _is_cut(response: requests.Response) -> bool:
    """Did fewer bytes come than were announced? urllib3 asks this itself only since version 2."""
    announced = response.headers.get("Content-Length", "")
    if "Transfer-Encoding" in response.headers or not re.fullmatch(r"[0-9]+", announced):
        return False
    return bool(response.raw.tell() != int(announced))


def _read_some(response: requests.Response) -> bytes:
    """The beginning of a failed answer; its status stands even where the rest was cut."""
    start = b""
    with contextlib.suppress(*FAILURES):
        for piece in pieces(response):
            start += piece
            if len(start) >= _ENOUGH:
                break
    return start
