"""TLS: certificates are verified, whatever the environment says, and there is no way around it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from etl.api import Client
from etl.errors import ApiError, ApiRefused
from etl.settings import Secret, Source
from tests.http_server import Reply
from tests.tls import Certificate, certificate, serve_tls, url_of

OK = Reply({"object": "list", "data": []})


@pytest.fixture(scope="module")
def self_signed(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("self_signed"))


@pytest.fixture(scope="module")
def of_another(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return certificate(tmp_path_factory.mktemp("of_another"), "DNS:api.example.org")


def read(url: str) -> bytes:
    source = Source(base_url=url, api_key=Secret("KEY", "sk-1"), max_attempts=1)
    with Client(source) as client:
        return client.get("/fine_tuning/jobs").body


def refusal_of(certificate: Certificate) -> str:
    """What is said of a server with this certificate, which must not hear of the key."""
    with serve_tls(lambda _: OK, certificate) as server:
        with pytest.raises(ApiError) as caught:
            read(url_of(server))
        assert server.seen == []
    assert isinstance(caught.value, ApiRefused)
    return str(caught.value)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"REQUESTS_CA_BUNDLE": ""},
        {"CURL_CA_BUNDLE": ""},
        {"REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""},
        {"PYTHONHTTPSVERIFY": "0"},
        {"NODE_TLS_REJECT_UNAUTHORIZED": "0", "SSL_NO_VERIFY": "1", "GIT_SSL_NO_VERIFY": "1"},
        {"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""},
    ],
    ids=lambda environment: "+".join(environment) or "nothing",
)
def test_a_certificate_that_nobody_signed_is_refused(
    self_signed: Certificate, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verification stays on, whatever a variable may have meant to other programs."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert "cannot be verified (TLS)" in refusal_of(self_signed)


@pytest.mark.parametrize("bundle", ["false", "0", "no/such/file.pem", "."])
def test_a_bundle_that_is_none_does_not_turn_verification_off(
    self_signed: Certificate, bundle: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whether it is missing, or a directory without a certificate."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    assert "CA certificates" in refusal_of(self_signed)


def test_a_netrc_changes_nothing(
    self_signed: Certificate, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login u password p\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    assert "cannot be verified (TLS)" in refusal_of(self_signed)


def test_a_certificate_that_one_trusts_must_still_be_of_this_host(
    of_another: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(of_another.file))
    assert "cannot be verified (TLS)" in refusal_of(of_another)


def test_a_certificate_that_one_trusts_is_taken(
    self_signed: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one way to speak to such a server: to say which certificate it has."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(self_signed.file))
    with serve_tls(lambda _: OK, self_signed) as server:
        assert read(url_of(server)) == b'{"object": "list", "data": []}'
    assert server.seen[0].headers["authorization"] == "Bearer sk-1"


def test_no_setting_speaks_of_verification() -> None:
    """What is not there cannot be set by accident."""
    names = " ".join(field.name for field in fields(Source))
    assert not any(word in names for word in ("verify", "insecure", "tls", "ssl", "cert"))
