"""What people are told when a request is refused."""

from __future__ import annotations

from typing import Any

import pytest

from etl.api import Client
from etl.errors import ApiError, ApiRefused, TransientApiError
from etl.settings import Secret, Source
from tests.http_server import Reply, serve

PROJECT = Secret("OPENAI_API_KEY", "sk-proj-1234")
ADMIN = Secret("OPENAI_ADMIN_KEY", "sk-admin-1234")


def told(reply: Reply, path: str = "/fine_tuning/jobs", **changes: Any) -> ApiError:
    """The error that comes of this answer, with everything that people see of it."""
    changes = {"api_key": PROJECT, "admin_key": ADMIN, "max_attempts": 1, **changes}
    with (
        serve([reply]) as server,
        Client(Source(base_url=server.url, **changes)) as client,
        pytest.raises(ApiError) as caught,
    ):
        client.get(path)
    assert "1234" not in str(caught.value)
    return caught.value


def openai_error(message: str, code: Any = None, status: int = 401) -> Reply:
    body = {"error": {"message": message, "type": "t", "param": None, "code": code}}
    return Reply(body, status, {"x-request-id": "req_1"})


def test_a_bad_key() -> None:
    """Which key, of which source, and what the server said, the key in it masked."""
    error = told(openai_error("Incorrect API key provided: sk-proj-1234.", "invalid_api_key"))
    assert isinstance(error, ApiRefused)
    assert str(error) == (
        'The server does not accept the key from OPENAI_API_KEY (source "default"). Check that it '
        "is complete, not revoked, and a key for 127.0.0.1. The server says: “Incorrect API key "
        "provided: ***.” (GET /fine_tuning/jobs, HTTP 401, code invalid_api_key, request id req_1)"
    )
    assert (error.exchange.status, error.exchange.code) == (401, "invalid_api_key")


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_scope(status: int) -> None:
    """The scope is named, and what to give the key, at either status."""
    message = (
        "You have insufficient permissions for this operation. "
        "Missing scopes: api.fine_tuning.jobs.read. Check your role."
    )
    text = str(told(openai_error(message, status=status)))
    assert "lacks the scope api.fine_tuning.jobs.read" in text
    assert "Give the key read on fine-tuning" in text


@pytest.mark.parametrize(
    ("message", "code"),
    [("No.", "mismatched_project"), ("OpenAI-Project header should match project.", None)],
)
def test_a_key_of_another_project_than_the_one_that_is_named(
    message: str, code: str | None
) -> None:
    text = str(told(openai_error(message, code), project="proj_abc"))
    assert (
        'The key from OPENAI_API_KEY (source "default") belongs to another project or organization '
        "than the requests name: project = 'proj_abc'."
    ) in text


def test_an_admin_key_in_the_place_of_a_project_key() -> None:
    """It is told where either belongs."""
    error = told(openai_error("No.", status=403), api_key=Secret("MY_KEY", "sk-admin-1234"))
    assert "The key from MY_KEY" in str(error)
    assert "An admin key cannot list jobs" in str(error)
    assert "this one into OPENAI_ADMIN_KEY" in str(error)


def test_a_project_key_in_the_place_of_an_admin_key() -> None:
    """Only an admin key reads costs."""
    error = told(openai_error("No."), "/organization/costs", admin_key=Secret("ADM", "sk-1234"))
    assert "The key from ADM" in str(error)
    assert "only an admin key may read /organization/costs" in str(error)


def test_forbidden_without_a_reason() -> None:
    """It names what the key needs to be allowed."""
    text = str(told(Reply(status=403), "/files"))
    assert "may not read /files. It needs read on files" in text


@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        ("openai", "Check base_url: for most servers it ends in /v1."),
        ("compatible", "Check base_url: for most servers it ends in /v1."),
        ("azure", "it ends in /openai with an api-version in extra_query, or in /openai/v1"),
    ],
)
def test_no_list_at_this_address(provider: str, expected: str) -> None:
    """A wrong base_url is the usual cause, and each provider has its own form."""
    text = str(told(openai_error("Unknown url", status=404), provider=provider))
    assert "There is no /fine_tuning/jobs under http://127.0.0.1:" in text
    assert expected in text


def test_one_thing_that_is_not_there() -> None:
    """A job or file that is gone says nothing about the address."""
    reply = openai_error("Could not find fine tune: ftjob-1", "fine_tune_not_found", 404)
    error = told(reply, "/fine_tuning/jobs/ftjob-1")
    assert str(error).startswith("The server does not have this, or no longer. The server says:")
    assert error.exchange.code == "fine_tune_not_found"


def test_a_server_without_organization() -> None:
    """Costs are OpenAI's own."""
    text = str(told(Reply(status=404), "/organization/costs", provider="compatible"))
    assert "This server has no /organization/costs; only OpenAI itself does." in text


def test_a_used_up_quota() -> None:
    """Somebody must act; whose account is named by the key's origin."""
    error = told(openai_error("You exceeded your current quota", "insufficient_quota", 429))
    assert isinstance(error, ApiRefused)
    assert "behind the key from OPENAI_API_KEY" in str(error)
    assert "A person must act" in str(error)


def test_a_page_of_a_gateway() -> None:
    """Its title is the message."""
    reply = Reply("<html><head><title>502 Bad Gateway</title></head></html>", status=502)
    error = told(reply)
    assert isinstance(error, TransientApiError)
    assert str(error).startswith(
        "A page came instead of JSON: something before the API failed (proxy, gateway). "
        "The page's title: “502 Bad Gateway”."
    )


@pytest.mark.parametrize(
    ("body", "said", "code"),
    [
        ({"detail": "Not today."}, "Not today.", None),
        ({"error": "Not today."}, "Not today.", None),
        ({"type": "t", "title": "Bad", "detail": "Not today."}, "Not today.", None),
        ({"error": {"message": "Not today.", "code": 40021}}, "Not today.", "40021"),
        ("Not today.", "Not today.", None),
    ],
)
def test_every_form_of_body(body: Any, said: str, code: str | None) -> None:
    """Proxies have their own ways to say no."""
    error = told(Reply(body, status=400, headers={"Content-Type": "application/problem+json"}))
    assert f"The server refused the request. The server says: “{said}”" in str(error)
    assert error.exchange.code == code


def test_an_unhelpful_refusal() -> None:
    """Nothing said is nothing quoted."""
    assert str(told(Reply(status=418))) == (
        "The server refused the request. (GET /fine_tuning/jobs, HTTP 418)"
    )


def test_an_azure_request_id() -> None:
    """Azure's gateway names it differently."""
    error = told(Reply(status=400, headers={"apim-request-id": "abc"}))
    assert error.exchange.request_id == "abc"


def test_a_proxy_that_wants_a_password() -> None:
    """It is told where to put it."""
    assert "HTTPS_PROXY, as http://user:password@host:port" in str(told(Reply(status=407)))
