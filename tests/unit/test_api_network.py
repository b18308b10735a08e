"""The network around the API: redirects, proxies, .netrc, TLS, names; secrets in all that."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3

from etl.api import Client
from etl.api.border import translate
from etl.errors import ApiError, ApiRefused, Exchange, TransientApiError
from etl.settings import Secret, Source
from tests.http_server import Reply, Seen, serve

JOBS = "/fine_tuning/jobs"
OK = Reply({"object": "list", "data": []})
KEY = Secret("OPENAI_API_KEY", "sk-secret-1")


def refused_port() -> int:
    """A port at which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(base_url: str, **changes: Any) -> list[float]:
    """Read the list of jobs there. Returns the waits."""
    waits: list[float] = []
    changes = {"api_key": KEY, "max_attempts": 2, "allow_http": True, **changes}
    source = Source(base_url=base_url, **changes)
    with Client(source, sleep=waits.append, random=lambda: 0.0) as client:
        client.get(JOBS)
    return waits


def failure_of(base_url: str, **changes: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        get(base_url, **changes)
    return caught.value


@contextmanager
def netrc(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A .netrc with a password for this machine, where requests looks for it."""
    file = folder / ".netrc"
    file.write_text("machine 127.0.0.1 login mallory password netrc-password\n")
    file.chmod(0o600)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("NETRC", str(file))
    assert requests.utils.get_netrc_auth("http://127.0.0.1/") == ("mallory", "netrc-password")
    yield


def test_netrc_does_not_replace_the_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests would overwrite `Authorization` with what .netrc has for the host."""
    with netrc(tmp_path, monkeypatch), serve([OK]) as server:
        get(server.url)
    assert server.seen[0].headers["authorization"] == "Bearer sk-secret-1"


def test_netrc_adds_nothing_beside_another_header(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key in its own header is all there is."""
    with netrc(tmp_path, monkeypatch), serve([OK]) as server:
        get(server.url, auth_header="api-key")
    assert server.seen[0].headers["api-key"] == "sk-secret-1"
    assert "authorization" not in server.seen[0].headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """The key stays here; the error names the host and the setting, not the target's query."""
    with serve([OK]) as other:
        target = f"http://user:pw@127.0.0.1:{other.port}/v2/fine_tuning/jobs?token=query-secret"
        with serve([Reply(status=status, headers={"Location": target})]) as server:
            error = failure_of(server.url)
        assert other.seen == []
    assert isinstance(error, ApiRefused)
    assert str(error) == (
        f"The server redirects to 127.0.0.1:{other.port}. It was not followed, so that the key "
        f"goes nowhere else. If that is right, set base_url to http://127.0.0.1:{other.port}/v2. "
        f"(GET /fine_tuning/jobs, HTTP {status})"
    )


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("https://login.example/?next=/v1", "redirects to login.example. .* login page"),
        ("/sorry", r"redirects to 127\.0\.0\.1:\d+\. .* login page"),
        ("//[::1]:8/x", r"redirects to \[::1\]:8\."),
        ("https://h:port/", "without a usable address"),
        ("javascript:alert(1)", "without a usable address"),
        ("\xff\xfe", r"redirects to 127\.0\.0\.1"),
    ],
)
def test_odd_redirects(location: str, expected: str) -> None:
    """Whatever the target, it is a refusal with advice."""
    with (
        serve([Reply(status=302, headers={"Location": location})]) as server,
        pytest.raises(ApiRefused, match=expected),
    ):
        get(server.url)


def test_a_redirect_to_nowhere() -> None:
    """A status without a target."""
    with serve([Reply(status=304)]) as server:
        assert "without a usable address" in str(failure_of(server.url))


def test_proxies_of_the_environment_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """With their user and password, which the API never sees in its URL."""
    with serve([OK]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:proxy-pw@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("http_proxy", f"http://user:proxy-pw@127.0.0.1:{proxy.port}")
        get("http://api.example.invalid/v1")
    (seen,) = proxy.seen
    assert seen.path == "http://api.example.invalid/v1/fine_tuning/jobs"
    assert seen.headers["proxy-authorization"] == "Basic dXNlcjpwcm94eS1wdw=="
    assert seen.headers["authorization"] == "Bearer sk-secret-1"


def test_no_proxy_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hosts named there are reached directly."""
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{refused_port()}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with serve([OK]) as server:
        assert get(server.url) == []


@pytest.mark.parametrize(
    ("status", "kind", "tries"),
    [
        (407, ApiRefused, 1),
        (403, ApiRefused, 1),
        (502, TransientApiError, 2),
        (429, TransientApiError, 2),
    ],
)
def test_a_proxy_that_refuses_a_tunnel(
    status: int, kind: type[ApiError], tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A password that is missing will still be missing; a proxy that failed may recover."""
    with serve([Reply(status=status)] * 2) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:proxy-pw@127.0.0.1:{proxy.port}")
        error = failure_of("https://api.example.invalid/v1")
    assert type(error) is kind
    assert "api.example.invalid" in str(error)
    assert "HTTPS_PROXY" in str(error)
    assert [seen.method for seen in proxy.seen] == ["CONNECT"] * tries


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_is_not_there(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the proxy that is named, not the API."""
    monkeypatch.setenv(f"{scheme}_proxy", f"http://user:proxy-pw@127.0.0.1:{refused_port()}")
    error = failure_of(f"{scheme}://api.example.invalid/v1")
    assert isinstance(error, TransientApiError)
    assert "The proxy did not take the connection to api.example.invalid" in str(error)


@pytest.mark.parametrize("proxy", ["http://", "http://user:proxy-pw@:x", "http://user:proxy-pw@[h"])
def test_proxies_that_cannot_be_used(proxy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mistake in the variable is a refusal that never shows the password."""
    monkeypatch.setenv("http_proxy", proxy)
    error = failure_of("http://api.example.invalid/v1")
    assert isinstance(error, ApiRefused)
    assert "prox" in str(error)
    assert "proxy-pw" not in str(error)


def test_connection_refused() -> None:
    """Tried again, then said with the host and port."""
    port = refused_port()
    error = failure_of(f"http://127.0.0.1:{port}/v1")
    assert isinstance(error, TransientApiError)
    assert f"Connection refused by 127.0.0.1:{port}. Check base_url" in str(error)
    assert "Gave up after 2 tries" in str(error)


def test_a_name_that_cannot_be_resolved() -> None:
    """`.invalid` never has an address."""
    error = failure_of("http://api.example.invalid/v1", max_attempts=1)
    assert isinstance(error, TransientApiError)
    assert "api.example.invalid" in str(error)
    assert "network, and base_url" in str(error)


def test_https_to_a_server_without_tls() -> None:
    """A refusal at once, with both usual causes."""
    with serve([]) as server:
        error = failure_of(server.url.replace("http", "https"))
    assert isinstance(error, ApiRefused)
    assert "(TLS)" in str(error)
    assert "REQUESTS_CA_BUNDLE" in str(error)


def test_a_bundle_of_certificates_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variable that names it is named."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    error = failure_of("https://127.0.0.1:1/v1")
    assert isinstance(error, ApiRefused)
    assert "file of CA certificates does not exist. Check REQUESTS_CA_BUNDLE" in str(error)


def wrapped(cause: Exception) -> urllib3.exceptions.MaxRetryError:
    """As urllib3 hands it to requests."""
    pool = urllib3.HTTPSConnectionPool("api.example")
    return urllib3.exceptions.MaxRetryError(pool, "/v1?token=query-secret", cause)


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (
            requests.exceptions.SSLError(
                wrapped(urllib3.exceptions.SSLError(ssl.SSLCertVerificationError("self-signed")))
            ),
            ApiRefused,
            "The certificate of api.example cannot be verified (TLS).",
        ),
        (
            requests.exceptions.SSLError(wrapped(urllib3.exceptions.SSLError(ssl.SSLEOFError()))),
            TransientApiError,
            "The connection to api.example was cut.",
        ),
        (
            requests.exceptions.ConnectionError(
                urllib3.exceptions.ProtocolError("aborted", ConnectionResetError(104, "reset"))
            ),
            TransientApiError,
            "The connection to api.example was cut.",
        ),
        (
            requests.exceptions.ConnectTimeout(wrapped(Exception())),
            TransientApiError,
            "No connection to api.example within 5 s (connect_timeout).",
        ),
        (
            UnicodeEncodeError("latin-1", "Bearer sk-secret-1…", 18, 19, "too wide"),
            ApiRefused,
            "A header cannot be sent.",
        ),
        (
            requests.exceptions.InvalidHeader("bad value: 'Bearer sk-secret-1\\n'"),
            ApiRefused,
            "A header cannot be sent.",
        ),
        (
            requests.exceptions.InvalidSchema("Missing dependencies for SOCKS support."),
            ApiRefused,
            'pip install "requests[socks]"',
        ),
        (OSError(5, "Input/output error"), TransientApiError, "The request to api.example failed."),
        (
            urllib3.exceptions.HTTPError("?token=query-secret"),
            TransientApiError,
            "The request to api.example failed.",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_causes_are_found_wherever_they_hide(
    error: Exception, kind: type[ApiError], said: str
) -> None:
    """And nothing of the original's text is repeated."""
    result = translate(error, Source(base_url="https://api.example/v1"), Exchange(JOBS))
    assert type(result) is kind
    assert said in str(result)
    assert "secret" not in str(result)


def chain(error: BaseException) -> Iterator[BaseException]:
    """An error and all it is linked to."""
    link: BaseException | None = error
    while link is not None:
        yield link
        link = link.__cause__ or link.__context__


SECRETS = ("sk-secret-1", "header-secret", "query-secret", "proxy-pw", "cm94eS1wdw")


def echo(seen: Seen) -> Reply:
    """A server that repeats all it was sent, in each place where a server can speak."""
    words = " ".join((*seen.headers.values(), seen.raw_query))
    return Reply(
        {"error": {"message": words, "code": words[:200]}},
        status=401,
        headers={"x-request-id": words, "Location": f"https://{words}/"},
    )


@pytest.mark.parametrize(
    "fault", ["echo", "redirect", "refused", "dropped", "tls", "tunnel", "proxy"]
)
def test_no_failure_shows_a_secret(
    fault: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the error, not in what it is linked to, not in any log at debug level."""
    caplog.set_level(logging.DEBUG)

    def script(seen: Seen) -> Reply:
        if fault == "dropped":
            return Reply(is_dropped=True)
        reply = echo(seen)
        return Reply(reply.body, 302 if fault == "redirect" else 401, reply.headers)

    with serve(script) as server:
        url = server.url
        if fault == "refused":
            url = f"http://127.0.0.1:{refused_port()}/v1"
        if fault == "tls":
            url = server.url.replace("http", "https")
        if fault in {"tunnel", "proxy"}:
            for name in ("HTTPS_PROXY", "http_proxy"):
                monkeypatch.setenv(name, f"http://user:proxy-pw@127.0.0.1:{server.port}")
            url = f"{'https' if fault == 'tunnel' else 'http'}://api.example.invalid/v1"
        error = failure_of(
            url,
            extra_headers=(("x-gateway", "Bearer header-secret"),),
            extra_query=(("access_token", "query-secret"),),
        )
    texts = [caplog.text, *(f"{link} {link!r} {vars(link)}" for link in chain(error))]
    assert caplog.records
    assert [secret for secret in SECRETS for text in texts if secret in text] == []


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_failure_has_no_link_to_the_library_below(scheme: str) -> None:
    """Whoever prints the whole chain of causes prints only our own sentences."""
    with serve([Reply(is_dropped=True)] * 2) as server:
        error = failure_of(server.url.replace("http", scheme))
    assert isinstance(error, TransientApiError if scheme == "http" else ApiRefused)
    assert list(chain(error)) == [error]
