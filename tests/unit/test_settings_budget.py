"""`[budget]` and `[alerts]`: limits to the micro-dollar, and addresses that nobody sees."""

from __future__ import annotations

import pickle
import shlex
import sys
from pathlib import Path

import pytest

from etl.errors import ConfigError
from etl.settings import Limit, Settings, load, split_addresses

SLACK = "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ"
MAIL = "mailto://me:pass-word@example.com?to=a@example.com,b@example.com"


def loaded(folder: Path, text: str, environ: dict[str, str] | None = None) -> Settings:
    (folder / "ftmirror.toml").write_text(text, encoding="utf-8")
    return load(None, environ or {}, cwd=folder)


def test_limits_are_whole_micro_dollars_the_overall_one_first(tmp_path: Path) -> None:
    text = """
    [budget]
    monthly_usd = 500
    [[budget.limits]]
    project = "proj_abc"
    monthly_usd = 0.1
    [[budget.limits]]
    metadata = { team = "search", env = "prod" }
    monthly_usd = 1234.567891
    [[budget.limits]]
    project = "proj_abc"
    metadata = { team = "search" }
    monthly_usd = 0
    """
    limits = loaded(tmp_path, text).limits
    assert limits == (
        Limit(500_000_000),
        Limit(100_000, "proj_abc"),
        Limit(1_234_567_891, None, (("env", "prod"), ("team", "search"))),
        Limit(0, "proj_abc", (("team", "search"),)),
    )
    assert [limit.name for limit in limits] == [
        "all",
        "project proj_abc",
        "metadata env=prod, metadata team=search",
        "project proj_abc, metadata team=search",
    ]


def test_without_a_budget_there_are_no_limits(tmp_path: Path) -> None:
    assert loaded(tmp_path, "").limits == ()
    assert loaded(tmp_path, "[budget]").limits == ()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budget = 5", "budget: must be a table: a line [budget], then monthly_usd = 500 below it"),
        ("[budget]\nmonthly = 5", "[budget]: monthly: unknown key (did you mean monthly_usd?)"),
        ('[budget]\nmonthly_usd = "5"', "[budget]: monthly_usd: is text; must be an amount in US"),
        ("[budget]\nmonthly_usd = true", "[budget]: monthly_usd: is true or false; must be an"),
        ("[budget]\nmonthly_usd = -1", "must be between 0 and 1,000,000,000,000"),
        ("[budget]\nmonthly_usd = nan", "must be between 0 and 1,000,000,000,000"),
        ("[budget]\nmonthly_usd = inf", "must be between 0 and 1,000,000,000,000"),
        ("[budget]\nmonthly_usd = 1e99", "must be between 0 and 1,000,000,000,000"),
        ("[budget]\nmonthly_usd = 0.0000001", "monthly_usd: has more than six decimals"),
        ("[budget]\nlimits = 5", "limits: each limit begins with a line [[budget.limits]]"),
        ("[budget.limits]\nmonthly_usd = 5", "limits: each limit begins with a line [[budget"),
        (
            "[[budget.limits]]\nmonthly_usd = 5",
            "[[budget.limits]] number 1: project: is missing, and so is metadata; name one",
        ),
        (
            '[[budget.limits]]\nproject = "p"',
            "[[budget.limits]] number 1: monthly_usd: is missing; write how much",
        ),
        (
            "[[budget.limits]]\nmetadata = {team = 5}\nmonthly_usd = 1",
            "number 1: metadata.team: is a whole number; must be text in quotes",
        ),
        (
            '[[budget.limits]]\nproject = "p"\nmonthly_usd = 1\n' * 2,
            "[[budget.limits]] number 2: project: has a limit above already",
        ),
        ("[alerts]\nurls = 5", "[alerts]: urls: unknown key (did you mean urls_env?)"),
        (
            '[alerts]\nurls_env = "A"\nurls_file = "b"',
            "[alerts]: urls_env and urls_file: only one may say where the urls is",
        ),
        (f'[alerts]\nurls_env = "{SLACK}"', "urls_env: must be the name of an environment"),
        ("alerts = 5", "alerts: must be a table: a line [alerts], then urls_env ="),
    ],
)
def test_what_is_wrong_says_how_to_write_it(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, text)
    assert said in str(caught.value)
    assert "TIiajk" not in str(caught.value)


def test_addresses_come_from_our_variable_unless_another_is_named(tmp_path: Path) -> None:
    environ = {"FTMIRROR_ALERT_URLS": SLACK, "OTHER": "json://127.0.0.1"}
    assert loaded(tmp_path, "", environ).alert_urls.read() == SLACK
    named = loaded(tmp_path, '[alerts]\nurls_env = "OTHER"', environ)
    assert named.alert_urls.read() == "json://127.0.0.1"


def test_a_misspelt_variable_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean FTMIRROR_ALERT_URLS"):
        loaded(tmp_path, "", {"FTMIRROR_ALERTS_URL": SLACK})


@pytest.mark.parametrize("between", [",", ", ", " ", "\n", "\r\n\r\n", " ,\n"])
def test_several_addresses_stand_in_one_text(tmp_path: Path, between: str) -> None:
    (tmp_path / "addresses").write_text(f"{SLACK}{between}{MAIL}\n")
    settings = loaded(tmp_path, '[alerts]\nurls_file = "addresses"')
    # A comma within an address stays in it.
    assert split_addresses(settings.alert_urls.read()) == [SLACK, MAIL]


def test_a_file_of_them_that_is_not_there_is_named_with_its_table(tmp_path: Path) -> None:
    settings = loaded(tmp_path, '[alerts]\nurls_file = "nofile"')
    with pytest.raises(ConfigError) as caught:
        settings.alert_urls.read()
    assert str(caught.value) == (
        "[alerts]: urls from file nofile cannot be read: No such file or directory"
    )


def test_or_a_command_prints_them(tmp_path: Path) -> None:
    code = shlex.join([sys.executable, "-c", f"print({SLACK!r}); print({MAIL!r})"])
    settings = loaded(tmp_path, f"[alerts]\nurls_command = '''{code}'''")
    assert split_addresses(settings.alert_urls.read()) == [SLACK, MAIL]


def test_what_is_no_address_is_refused_without_being_shown(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "", {"FTMIRROR_ALERT_URLS": "slack://hüsh"})
    with pytest.raises(ConfigError) as caught:
        settings.alert_urls.read()
    assert str(caught.value).startswith(
        "[alerts]: urls from FTMIRROR_ALERT_URLS holds a space, a line break"
    )
    assert "sh" not in str(caught.value).partition("URLS")[2].partition("holds")[0]


def test_their_tokens_and_passwords_are_hidden_and_known_to_the_log(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "", {"FTMIRROR_ALERT_URLS": f"{SLACK} {MAIL}"})
    for secret in ("TIiajk", "T1JJ3T3L2", "pass-word"):
        assert secret not in repr(settings)
    hidden = set(settings.hidden())
    assert {SLACK, MAIL, "TIiajkdnlazkcOXrIdevi7FQ", "T1JJ3T3L2", "A1BRTD4JD"} <= hidden
    assert "pass-word" in hidden
    # A host is in other messages, too.
    assert "example.com" not in hidden


def test_they_travel_in_a_pickle(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "", {"FTMIRROR_ALERT_URLS": SLACK})
    assert pickle.loads(pickle.dumps(settings)).alert_urls.read() == SLACK
