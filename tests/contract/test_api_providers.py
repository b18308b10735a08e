"""Every provider keeps the same promises; a new one is found here by itself."""

from __future__ import annotations

from typing import Any

import pytest

from etl import settings
from etl.api import PROVIDERS, Client, pages
from etl.jsontext import item_id
from etl.settings import Secret, Source
from tests.http_server import Reply, Seen, Server, serve

KEYS: dict[str, Any] = {
    "api_key": Secret("OPENAI_API_KEY", "sk-1"),
    "admin_key": Secret("OPENAI_ADMIN_KEY", "sk-admin-1"),
}
PAGES = [
    Reply({"object": "list", "data": [{"id": "b"}], "has_more": True}),
    Reply({"object": "list", "data": [{"id": "a"}], "has_more": False}),
]
every_provider = pytest.mark.parametrize("provider", PROVIDERS)


def asked(path: str = "/fine_tuning/jobs", **changes: Any) -> list[Seen]:
    """The requests for a list of two pages."""
    with serve(PAGES) as server:
        with Client(Source(base_url=server.url, **{**KEYS, **changes})) as client:
            list(pages(client, path))
        return server.seen


def test_settings_and_providers_have_the_same_names() -> None:
    """What can be configured can be done."""
    assert set(PROVIDERS) == set(settings.PROVIDERS)


@every_provider
def test_extra_headers_and_query_go_with_every_page(provider: str) -> None:
    """The first page and those after it."""
    for seen in asked(
        provider=provider,
        extra_headers=(("x-gateway", "g-1"), ("User-Agent", "mine/1")),
        extra_query=(("api-version", "2024-10-21"), ("custom_llm_provider", "openai")),
    ):
        assert seen.headers["x-gateway"] == "g-1"
        assert seen.headers["user-agent"] == "mine/1"
        assert seen.query[-2:] == [
            ("api-version", "2024-10-21"),
            ("custom_llm_provider", "openai"),
        ]


@every_provider
def test_a_key_in_its_own_header_is_bare(provider: str) -> None:
    """Only `Authorization` has the word Bearer before it."""
    for seen in asked(provider=provider, auth_header="x-api-key"):
        assert seen.headers["x-api-key"] == "sk-1"
        assert "authorization" not in seen.headers


@every_provider
def test_extra_query_may_replace_ours_but_not_the_cursor(provider: str) -> None:
    """A server that takes no page of 100 can be read; none can be kept on its first page."""
    first, second = asked(provider=provider, extra_query=(("limit", "20"), ("after", "x")))
    assert first.query == [("limit", "20")]
    assert second.query == [("after", "b"), ("limit", "20")]


@every_provider
def test_keys_open_what_they_are_for(provider: str) -> None:
    """The project's key never travels to an admin path, nor the other way."""
    for path, key in (("/files", "sk-1"), ("/organization/projects", "sk-admin-1")):
        for seen in asked(path, provider=provider):
            sent = {seen.headers.get("authorization"), seen.headers.get("api-key")}
            assert sent <= {None, key, f"Bearer {key}"}
            assert sent != {None}


@pytest.mark.parametrize("provider", ["openai", "compatible"])
def test_organization_and_project_are_headers(provider: str) -> None:
    """With an admin key only the organization: it reads all of its projects."""
    changes: dict[str, Any] = {"organization": "org-1", "project": "proj_1", "provider": provider}
    for seen in asked(**changes):
        assert seen.headers["openai-organization"] == "org-1"
        assert seen.headers["openai-project"] == "proj_1"
        assert seen.headers["authorization"] == "Bearer sk-1"
    for seen in asked("/organization/projects", **changes):
        assert seen.headers["openai-organization"] == "org-1"
        assert "openai-project" not in seen.headers


def test_azure_has_its_own_header_and_scope() -> None:
    """`api-key` without more being said, and no organization or project."""
    for seen in asked(provider="azure", organization="org-1", project="proj_1"):
        assert seen.headers["api-key"] == "sk-1"
        assert "authorization" not in seen.headers
        assert "openai-organization" not in seen.headers
        assert "openai-project" not in seen.headers


def test_azure_takes_an_entra_token() -> None:
    """A token is a bearer token wherever it came from."""
    token = "eyJhbGciOiJub25lIn0.eyJhdWQiOiJ4In0.c2ln"
    for seen in asked(provider="azure", api_key=Secret("TOKEN", token)):
        assert seen.headers["authorization"] == f"Bearer {token}"
        assert "api-key" not in seen.headers


def history(server_ids: list[str]) -> Any:
    """A server with these jobs that pages as OpenAI does."""

    def answer(seen: Seen) -> Reply:
        query = dict(seen.query)
        start = server_ids.index(query["after"]) + 1 if "after" in query else 0
        stop = start + int(query.get("limit", 20))
        data = [
            {"id": name, "object": "fine_tuning.job", "created_at": 1, "model": "m"}
            for name in server_ids[start:stop]
        ]
        return Reply({"object": "list", "data": data, "has_more": stop < len(server_ids)})

    return answer


def ids_of_the_sdk(server: Server, limit: int) -> list[str]:
    import openai  # it takes a second

    with openai.OpenAI(api_key="sk-1", base_url=server.url, max_retries=0) as reference:
        return [job.id for job in reference.fine_tuning.jobs.list(limit=limit)]


@pytest.mark.parametrize(("count", "limit"), [(0, 100), (1, 1), (7, 3), (200, 100), (201, 100)])
def test_the_official_sdk_sees_the_same_list(count: int, limit: int) -> None:
    """Same ids in the same order, whatever the pages; ours asks no more often."""
    with serve(history([f"ftjob-{number}" for number in range(count)])) as server:
        expected = ids_of_the_sdk(server, limit)
        requests_of_the_sdk = len(server.seen)
        with Client(Source(base_url=server.url, **KEYS)) as client:
            found = [
                item_id(item)
                for page in pages(client, "/fine_tuning/jobs", limit=limit)
                for item in page.items
            ]
            assert client.requests == requests_of_the_sdk
    assert found == expected
    assert len(expected) == count
