"""Masking: a secret is found in every form it turns up in, and words are left alone."""

from __future__ import annotations

import base64
import html
import json
import os
import shlex
import sys
from dataclasses import replace
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etl.api.masking import Cleaner
from etl.cli.masking import Mask
from etl.cli.options import Given
from etl.errors import ConfigError
from etl.settings import Secret, Settings, Source, passwords
from etl.settings.masking import finder, forms, unshaped

SECRET = 'Pä"ss/wo+rd=<&>\\x'


@pytest.mark.parametrize(
    "spelt",
    [
        SECRET,
        quote(SECRET),
        quote(SECRET, safe=""),
        quote(SECRET, safe="").lower().replace("%c3%a4", "%c3%a4"),
        quote_plus(SECRET),
        json.dumps(SECRET)[1:-1],
        html.escape(SECRET),
        repr(SECRET)[1:-1],
    ],
)
def test_a_secret_is_found_however_it_is_spelt(spelt: str) -> None:
    mask = Mask()
    mask.hide(SECRET, SECRET.lower())
    assert mask(f"a {spelt} b") == "a *** b"


@given(st.text(max_size=9), st.text(max_size=9))
def test_a_secret_is_found_in_base64_of_whatever_holds_it(before: str, after: str) -> None:
    """But for the letters at its ends, in which its neighbours have a part."""
    raw = "".join([before, "the-secret-itself", after]).encode("utf-8", "replace")
    for packed in (base64.b64encode(raw), base64.urlsafe_b64encode(raw)):
        assert finder(["the-secret-itself"], 6).search(packed.decode())


@given(st.text())
def test_any_text_may_be_a_secret(text: str) -> None:
    """Also one of a variable that is not UTF-8."""
    assert text in forms(text)
    assert finder([text], 1).sub("", text) == ""


def test_a_short_secret_has_no_form_that_eats_words() -> None:
    assert finder(["a"], 4).search("a banana") is None
    assert finder([], 4).search("") is None
    assert forms("abcd") == {"abcd"}


def test_the_words_may_change_between_two_texts() -> None:
    mask, words = Mask(), ["first-secret"]
    mask.ask(lambda: words)
    assert mask("first-secret second-secret") == "*** second-secret"
    words[:] = ["second-secret"]
    assert mask("first-secret second-secret") == "first-secret ***"


def test_a_key_that_is_not_ours_is_known_by_its_shape() -> None:
    """A gateway may quote the one that it has upstream."""
    clean = Cleaner(Source(api_key=Secret("KEY", "the-key-itself")))
    said = (
        "upstream refused sk-upstream-abcdef123 (Authorization: Bearer abcdef.ghij) the-key-itself"
    )
    assert clean(said) == "upstream refused sk-*** (Authorization: Bearer ***) ***"
    assert unshaped("sk-upstream-abcdef123") == "sk-***"


def test_a_servers_text_shows_no_secret_of_a_query_as_it_was_sent() -> None:
    """Error pages quote the address, in which it is percent-encoded."""
    clean = Cleaner(Source(extra_query=(("sig", "ab+cd/ef="), ("api-version", "2024-10-21"))))
    said = "Cannot GET /v1/files?api-version=2024-10-21&sig=ab%2Bcd%2Fef%3D"
    assert clean(said) == "Cannot GET /v1/files?api-version=2024-10-21&sig=***"


@pytest.mark.parametrize(
    ("changes", "hidden"),
    [
        ({}, set()),
        ({"api_key": Secret("K", " the-key "), "admin_key": Secret("A", "a")}, {"the-key", "a"}),
        ({"hidden": ("Bearer abc.def",)}, {"Bearer abc.def", "abc.def"}),
        ({"extra_headers": (("X-Portkey-Provider", "openai"), ("X-Team", "search"))}, set()),
        ({"extra_headers": (("X-Portkey-Api-Key", "p-1"), ("authorization2", "x"))}, {"p-1"}),
        ({"extra_query": (("sig", "s"), ("api-version", "v"), ("a_token", "t"))}, {"s", "t"}),
    ],
)
def test_what_is_secret_of_a_source(changes: dict[str, Any], hidden: set[str]) -> None:
    """Its keys, what came from variables, and headers and parameters whose names say so."""
    source = Source(**changes)
    assert source.secrets() == hidden
    assert set(Settings(sources=(source,)).hidden()) == hidden


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("postgresql://me:pass-word@db/x", ["pass-word"]),
        ("postgresql://me:p%40ss%2F%5B@db/x", ["p@ss/["]),
        ("postgresql://me:p[ss@db/x", ["p[ss"]),
        ("postgresql://me:p]ss:w@rd@db/x", ["p]ss:w@rd"]),
        ("postgresql://db/x?user=me&password=in-query", ["in-query"]),
        ("postgresql://me:one@db/x?password=two&sslpassword=three", ["one", "two", "three"]),
        ("http://user:proxy-pw@proxy:3128", ["proxy-pw"]),
        ("user:proxy-pw@proxy:3128", ["proxy-pw"]),
        ("postgresql://ftmirror:ftmirror@db/x", []),
        ("postgresql://me@db/x", []),
        ("postgresql://db:5432/x", []),
        ("sqlite:///ftmirror.db", []),
        ("sqlite:///[x.db", []),
        ("no URL at all", []),
        ("", []),
    ],
)
def test_passwords_of_urls(url: str, found: list[str]) -> None:
    """Of any text: what is no URL is no reason to fail."""
    assert [word for word in passwords(url) if word] == found


def test_what_the_settings_will_say_is_hidden_before_they_are_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Something may go wrong before, or while they are read."""
    monkeypatch.setenv("OPENAI_API_KEY", "key-of-variable")
    monkeypatch.setenv("OPENAI_ADMIN_KEY", "admin-of-variable")
    monkeypatch.setenv("FTMIRROR_DATABASE_URL", "postgresql://me:pw-of-variable@db/x")
    monkeypatch.setenv("https_proxy", "http://me:pw-of-proxy@proxy:1")
    given = Given()
    given["database_url"] = "mariadb://me:pw-of-option@db/x"
    said = "key-of-variable admin-of-variable pw-of-variable pw-of-proxy pw-of-option"
    assert given.mask(said) == "*** *** *** *** ***"
    assert "pw-of-option" not in repr(given)


def test_a_variable_that_is_not_utf8_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "OPENAI_API_KEY", os.fsdecode(b"sk\xff-not-utf8"))
    assert Given().mask(os.fsdecode(b"a sk\xff-not-utf8 b")) == "a *** b"


def test_a_failed_command_that_traces_its_steps_does_not_show_the_key() -> None:
    """What it printed is known, and what only looks like a key is found by that."""
    code = (
        "import sys; print('0123456789abcdef'); "
        "print('x' * 600, '+ echo 0123456789abcdef sk-other-key-1', file=sys.stderr); sys.exit(3)"
    )
    secret = Secret("command python", command=shlex.join([sys.executable, "-c", code]))
    with pytest.raises(ConfigError) as caught:
        secret.read()
    assert str(caught.value).endswith("x + echo *** sk-***")


def test_nothing_that_holds_a_secret_shows_it(tmp_path: Any) -> None:
    """Whoever prints it, in a debugger or a traceback."""
    from etl.api import Client, providers
    from etl.api.clients import Clients
    from etl.cli.options import Context
    from etl.db.engine import open_engine

    words = ["the-api-key", "the-admin-key", "the-header", "the-parameter", "the-password"]
    key, admin, header, parameter, password = words
    source = Source(
        api_key=Secret("KEY", key),
        admin_key=Secret("ADMIN", admin),
        extra_headers=(("x-gateway", header),),
        extra_query=(("sig", parameter),),
        hidden=(header,),
    )
    url = f"postgresql://me:{password}@db/x"
    settings = Settings(database_url=url, sources=(source,))
    engines = [open_engine(one) for one in (url, f"mariadb://db/x?user=me&password={password}")]
    with Client(source) as client, Clients(source) as clients:
        dress = providers.dress(source, "project")
        holders = [source, settings, client, clients, dress, dress.key, Context(database_url=url)]
        holders += [Given(), replace(source, name="b"), *engines, *(one.url for one in engines)]
        shown = " ".join(f"{one!r} {one} {[one]} {(one,)}" for one in holders)
    assert "openai" in shown
    assert [word for word in words if word in shown] == []
