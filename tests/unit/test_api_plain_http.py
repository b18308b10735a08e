"""Plain http, in which everybody on the way can read the key."""

from __future__ import annotations

import pytest

from etl.api import Client
from etl.errors import ApiError, ConfigError
from etl.settings import Secret, Source
from tests.http_server import Reply, serve

OK = Reply({"object": "list", "data": []})
PROXIES = ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")


def read(url: str, **changes: bool) -> bytes:
    key = Secret("KEY", "sk-1")
    source = Source(base_url=url, api_key=key, max_attempts=1, allow_http=bool(changes))
    with Client(source) as client:
        return client.get("/fine_tuning/jobs").body


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/v1", "http://api.example/v1", "http://0.0.0.0/v1"]
)
def test_it_goes_to_no_other_machine(url: str) -> None:
    with pytest.raises(ConfigError, match=r"plain http would send the key to .* in the clear"):
        read(url)


@pytest.mark.parametrize("variable", PROXIES)
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_to_this_machine_it_goes_past_any_proxy(
    variable: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxy is another machine: it would get the key that is meant for this one."""
    with serve([OK]) as server, serve([OK]) as proxy:
        monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")
        read(server.url.replace("127.0.0.1", host))
        assert (len(server.seen), proxy.seen) == (1, [])


def test_where_it_is_allowed_a_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve([OK]) as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        read("http://api.example.invalid/v1", allow_http=True)
        assert proxy.seen[0].path == "http://api.example.invalid/v1/fine_tuning/jobs"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_another_host_sees_nothing_of_a_redirect(status: int, scheme: str) -> None:
    """No request, so no key: the error says where the server would have sent us."""
    with serve([OK]) as other:
        target = f"{scheme}://127.0.0.1:{other.port}/v1/fine_tuning/jobs"
        with (
            serve([Reply(status=status, headers={"Location": target})]) as server,
            pytest.raises(ApiError, match=rf"redirects to 127\.0\.0\.1:{other.port}\. It was"),
        ):
            read(server.url)
        assert len(server.seen) == 1
        assert other.seen == []
        assert other._connections == []


def test_nor_of_a_redirect_within_the_host() -> None:
    """Another path of the same host may be somebody else's."""
    with (
        serve([Reply(status=307, headers={"Location": "/other/fine_tuning/jobs"})]) as server,
        pytest.raises(ApiError, match="It was not followed"),
    ):
        read(server.url)
    assert server.paths == ["/v1/fine_tuning/jobs"]
