"""The border to requests: every failure below becomes an error of ours, here and nowhere else.

Texts of requests and urllib3 are never repeated: they quote whole URLs, header values, and
proxies with their passwords.
"""

from __future__ import annotations

import http.client
import re
import socket
import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

from requests import exceptions
from urllib3 import exceptions as urllib3_exceptions

from etl.errors import ApiContractError, ApiError, ApiRefused, Exchange, TransientApiError
from etl.settings import Source

Meaning = tuple[type[ApiRefused | ApiContractError | TransientApiError], str]

#: All that can come out of the libraries below a request.
FAILURES: tuple[type[Exception], ...] = (
    exceptions.RequestException,
    urllib3_exceptions.HTTPError,
    OSError,
    UnicodeError,
)

_PROXIES = "HTTP_PROXY and HTTPS_PROXY"
_CUT: Meaning = (TransientApiError, "The connection to {host} was cut.")
_SLOW: Meaning = (TransientApiError, "{host} sent nothing for {read:g} s (read_timeout).")
_ADDRESS: Meaning = (
    ApiRefused,
    f"The address cannot be used. Check base_url ({{base}}), and the proxies in {_PROXIES}.",
)
_TLS: Meaning = (
    ApiRefused,
    (
        "No secure connection to {host} (TLS). Check that base_url is an https address; behind a "
        "company proxy set REQUESTS_CA_BUNDLE to the file of its CA certificates."
    ),
)
_CERTIFICATE: Meaning = (
    ApiRefused,
    (
        "The certificate of {host} cannot be verified (TLS). If a company proxy or an own CA is in "
        "between, set REQUESTS_CA_BUNDLE to the file of its CA certificates."
    ),
)
_NO_BUNDLE: Meaning = (
    ApiRefused,
    "The file of CA certificates does not exist. Check REQUESTS_CA_BUNDLE and CURL_CA_BUNDLE.",
)
_HEADER: Meaning = (
    ApiRefused,
    "A header cannot be sent. Check the key and extra_headers of the source for line breaks.",
)
_CUT_ANSWER: Meaning = (TransientApiError, "The answer of {host} was cut.")
_NO_NAME: Meaning = (
    TransientApiError,
    "The host name {host} cannot be resolved (DNS). Check the network, and base_url.",
)
_NOBODY: Meaning = (
    TransientApiError,
    "Connection refused by {host}. Check base_url, and that the server is up.",
)
_UNREACHABLE: Meaning = (
    TransientApiError,
    "No connection to {host}. Check the network, and base_url.",
)
_OTHER: Meaning = (TransientApiError, "The request to {host} failed.")
_PROXY: Meaning = (
    TransientApiError,
    f"The proxy did not take the connection to {{host}}. Check {_PROXIES}.",
)
_PROXY_REFUSED: Meaning = (
    ApiRefused,
    (
        f"The proxy refused the connection to {{host}}. Check {_PROXIES} (with user and password "
        "where it wants them), or put the host into NO_PROXY."
    ),
)
_SOCKS: Meaning = (
    ApiRefused,
    'The proxy is a SOCKS proxy, for which a part is missing: pip install "requests[socks]".',
)

#: Every exception of requests and what it means; more exact causes are looked for first.
MEANINGS: dict[type[Exception], Meaning] = {
    exceptions.RequestException: _OTHER,
    exceptions.ConnectionError: _CUT,
    exceptions.ProxyError: _PROXY,
    exceptions.SSLError: _TLS,
    exceptions.Timeout: _SLOW,
    exceptions.ConnectTimeout: (
        TransientApiError,
        "No connection to {host} within {connect:g} s (connect_timeout).",
    ),
    exceptions.ReadTimeout: _SLOW,
    exceptions.ChunkedEncodingError: _CUT_ANSWER,
    exceptions.ContentDecodingError: (
        TransientApiError,
        "The compressed answer of {host} cannot be unpacked.",
    ),
    exceptions.StreamConsumedError: _OTHER,
    exceptions.RetryError: _OTHER,
    exceptions.UnrewindableBodyError: _OTHER,
    exceptions.URLRequired: _ADDRESS,
    exceptions.MissingSchema: _ADDRESS,
    exceptions.InvalidSchema: _ADDRESS,
    exceptions.InvalidURL: _ADDRESS,
    exceptions.InvalidProxyURL: (
        ApiRefused,
        f"The address of the proxy cannot be used. Check {_PROXIES}.",
    ),
    exceptions.InvalidHeader: _HEADER,
    exceptions.TooManyRedirects: (
        ApiRefused,
        "{host} redirects in circles. Set base_url to the API's own address.",
    ),
    exceptions.HTTPError: _OTHER,
    exceptions.InvalidJSONError: (ApiContractError, "{host} did not answer with JSON."),
    exceptions.JSONDecodeError: (ApiContractError, "{host} did not answer with JSON."),
}

_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")


def translate(error: Exception, source: Source, exchange: Exchange) -> ApiError:
    """The error of ours for what came out of requests. It keeps no link to the original."""
    kind, sentence = _exact(error) or _general(error)
    text = sentence.format(
        host=urlsplit(source.base_url).netloc,
        base=source.base_url,
        connect=source.connect_timeout,
        read=source.read_timeout,
    )
    return kind(text, exchange)


def _general(error: Exception) -> Meaning:
    for kind in type(error).__mro__:
        if kind in MEANINGS:
            return MEANINGS[kind]
    # Headers are Latin-1 on the wire.
    return _HEADER if isinstance(error, UnicodeError) else _OTHER


def _exact(error: Exception) -> Meaning | None:
    causes = list(_causes(error))
    if isinstance(error, exceptions.ProxyError):
        return _proxy(causes)
    if isinstance(error, exceptions.InvalidSchema) and "SOCKS" in str(error):
        return _SOCKS
    if not isinstance(error, exceptions.RequestException) and "CA certificate" in str(error):
        return _NO_BUNDLE
    for kind, meaning in _CAUSES:
        if any(isinstance(cause, kind) for cause in causes):
            return meaning
    return None


# The first that fits, wherever it hides; the exact ones stand before the wider ones.
_CAUSES: tuple[tuple[type[BaseException], Meaning], ...] = (
    (ssl.SSLCertVerificationError, _CERTIFICATE),
    (ssl.SSLEOFError, _CUT),
    (ssl.SSLZeroReturnError, _CUT),
    (socket.gaierror, _NO_NAME),
    (ConnectionRefusedError, _NOBODY),
    (urllib3_exceptions.NewConnectionError, _UNREACHABLE),
    (urllib3_exceptions.ReadTimeoutError, _SLOW),
    (http.client.IncompleteRead, _CUT_ANSWER),
)


def _proxy(causes: list[BaseException]) -> Meaning:
    for cause in causes:
        refused = _TUNNEL.search(str(cause))
        if refused and refused[1].startswith("4") and refused[1] not in {"408", "429"}:
            return _PROXY_REFUSED
    return _PROXY


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An exception and all that it wraps: requests and urllib3 keep causes in several places."""
    waiting, seen = [error], set()
    while waiting:
        cause = waiting.pop(0)
        if id(cause) in seen:
            continue
        seen.add(id(cause))
        yield cause
        inner = (*cause.args, getattr(cause, "reason", None), cause.__cause__, cause.__context__)
        waiting.extend(item for item in inner if isinstance(item, BaseException))
