"""`ftmirror spend` and `--notify` as a person, a spreadsheet and a cron job meet them."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, update

from etl.db.tables import COUNTS, metadata
from etl.errors import StoreError
from tests.calling import Answer, Call, caller
from tests.conftest import make_schema
from tests.flow.test_spending import job, put
from tests.http_server import Reply, Server, serve

#: In the path of an address, where a chat's token would be.
TOKEN = "zqT0kenOfAChat"


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """A mirror of no jobs in an empty folder; what it was made with is closed."""
    monkeypatch.chdir(tmp_path)
    engine = make_schema("sqlite:///ftmirror.db")
    engine.dispose()
    return engine


@pytest.fixture
def call(mirror: Engine, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call `ftmirror` in that folder."""
    call = caller(capsys)

    def run(*arguments: str) -> Answer:
        mirror.dispose()
        return call(*arguments)

    return run


def used(engine: Engine, *jobs: dict[str, Any]) -> None:
    """These jobs, with what they used."""
    put(engine, "jobs", jobs)
    rows = [
        {
            "job_id": one["id"],
            "unit": "trained_token",
            "origin": "trained_tokens",
            "quantity": one["trained_tokens"],
        }
        for one in jobs
        if one["trained_tokens"] is not None
    ]
    put(engine, "job_usage", rows)


MINI = "gpt-4o-mini-2024-07-18"


def some_jobs(engine: Engine) -> None:
    """By the shipped prices: 3 USD for a million tokens."""
    used(
        engine,
        job(1, "2025-01-31 23:59:59", 12_345_678, MINI),
        job(2, "2025-02-01", 1_500, MINI, project_id="proj_2"),
        job(3, "2025-02-02", 1_700, MINI, status="failed"),
        job(4, "2025-02-03", 5_000, "gpt-9"),
        job(5, "2025-02-04", None, MINI, status="cancelled"),
        job(6, "2025-03-01", None, MINI, status="running", finished_at=None),
        job(7, "2024-09-01", 2_000_000, MINI),
    )


# What was spent


def test_by_month_with_the_total_and_what_it_does_not_say(call: Call, mirror: Engine) -> None:
    some_jobs(mirror)
    answer = call("spend")
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "month    jobs  unpriced      tokens  cost (USD)\n"
        "2024-09     1         0   2,000,000        6.00\n"
        "2025-01     1         0  12,345,678       37.04\n"
        "2025-02     4         2       8,200        0.01\n"
        "2025-03     1         0           0        0.00\n"
        "total       7         2  14,353,878       43.05\n"
        "\n"
        "uncertain: 0.01 USD of it, the list price of jobs whose charge is not documented\n"
        "  (1 failed).\n"
        "free allowance: 6.00 USD of it (1 job) is of months in which some training was\n"
        "  free; the bill may be lower.\n"
        "unpriced: 2 jobs of unknown cost, which count as nothing (1 without a price for\n"
        "  the model, 1 without a word of what was used); the view unpriced_jobs names\n"
        "  them, `ftmirror prices check` the models.\n"
        "open: 1 job without a cost yet.\n"
    )
    assert max(len(line) for line in answer.out.splitlines()) <= 80


def test_combinations_and_a_period(call: Call, mirror: Engine) -> None:
    some_jobs(mirror)
    put(mirror, "projects", [{"id": "proj_2", "name": "Search"}])
    put(mirror, "job_metadata", [{"job_id": "ftjob-2", "name": "team", "value": "nlp"}])
    words = ["--by", "project", "--by", "metadata.team", "--since", "2025-01-01"]
    answer = call("spend", *words, "--until", "2025-02-02")
    assert answer.out == (
        "jobs that ended since 2025-01-01 00:00 and before 2025-02-02 00:00 UTC\n"
        "project  metadata.team  name    jobs      tokens  cost (USD)\n"
        "proj_1   (none)                    1  12,345,678       37.04\n"
        "proj_2   nlp            Search     1       1,500       <0.01\n"
        "total                              2  12,347,178       37.04\n"
    )


def test_amounts_that_do_not_add_up_in_cents_say_so(call: Call, mirror: Engine) -> None:
    days = [f"2025-01-0{number}" for number in (1, 2, 3)]
    used(mirror, *(job(number, day, 2_000, MINI) for number, day in enumerate(days)))
    answer = call("spend", "--by", "day")
    assert answer.out == (
        "day         jobs  tokens  cost (USD)\n"
        "2025-01-01     1   2,000        0.01\n"
        "2025-01-02     1   2,000        0.01\n"
        "2025-01-03     1   2,000        0.01\n"
        "total          3   6,000        0.02\n"
        "\n"
        "Each amount is rounded to cents by itself; --format csv and json have every\n"
        "  micro-dollar, and those add up.\n"
    )


def test_azure_and_training_time_have_their_notes(call: Call, mirror: Engine) -> None:
    o4 = "o4-mini-2025-04-16"
    used(
        mirror,
        job(1, "2025-06-01", 900, MINI, provider="azure"),
        job(2, "2025-06-01", None, o4, method_type="reinforcement"),
        job(3, "2025-06-01", 5, MINI, status="melting"),
        job(4, "2025-06-01", 5, MINI, method_type="distilled"),
    )
    hour = {"unit": "training_second", "origin": "usage_metrics", "quantity": 3600}
    put(mirror, "job_usage", [{"job_id": "ftjob-2", **hour}])
    said = call("spend", "--by", "model").out
    assert "estimate: 100.00 USD of it (1 job) is by measured training time;" in said
    assert "Azure: 1 job, by the prices in your own file; hosting by the hour is not" in said
    assert "open: 1 job without a cost yet (1 in a status that this version does not" in said
    assert "1 of a method that this version does not know" in " ".join(said.split())


def test_json_has_whole_micro_dollars_and_exact_text(call: Call, mirror: Engine) -> None:
    some_jobs(mirror)
    put(mirror, "job_metadata", [{"job_id": "ftjob-2", "name": "a", "value": "=1+1"}])
    answer = call("spend", "--by", "metadata.a", "--format", "json", "--since", "2025-02-01")
    assert (answer.code, answer.err) == (0, "")
    found = json.loads(answer.out)
    assert found["by"] == ["metadata.a"]
    assert (found["since"], found["until"]) == ("2025-02-01T00:00:00Z", None)
    assert found["rows"] == [
        {
            "metadata.a": "=1+1",
            "jobs": 1,
            "trained_tokens": 1500,
            "cost_microusd": 4500,
            "cost_usd": "0.004500",
            "uncertain_jobs": 0,
            "uncertain_microusd": 0,
            "uncertain_usd": "0.000000",
            "unpriced_jobs": 0,
            "open_jobs": 0,
        },
        {
            "metadata.a": None,
            "jobs": 4,
            "trained_tokens": 6700,
            "cost_microusd": 5100,
            "cost_usd": "0.005100",
            "uncertain_jobs": 1,
            "uncertain_microusd": 5100,
            "uncertain_usd": "0.005100",
            "unpriced_jobs": 2,
            "open_jobs": 1,
        },
    ]
    assert found["total"]["cost_microusd"] == 9600
    assert found["certainty"][0] == {
        "certainty": "list_price",
        "reason": None,
        "provider": "openai",
        "jobs": 1,
        "cost_microusd": 4500,
        "cost_usd": "0.004500",
    }


def test_csv_is_exact_and_the_total_is_said_beside_it(call: Call, mirror: Engine) -> None:
    some_jobs(mirror)
    answer = call("spend", "--by", "project", "--by", "month", "--format", "csv")
    assert answer.code == 0
    assert answer.out == (
        "project,project_name,month,jobs,trained_tokens,cost_usd,uncertain_jobs,uncertain_usd,"
        "unpriced_jobs,open_jobs\n"
        "proj_1,,2024-09,1,2000000,6.000000,1,6.000000,0,0\n"
        "proj_1,,2025-01,1,12345678,37.037034,0,0.000000,0,0\n"
        "proj_1,,2025-02,3,6700,0.005100,1,0.005100,2,0\n"
        "proj_1,,2025-03,1,0,0.000000,0,0.000000,0,1\n"
        "proj_2,,2025-02,1,1500,0.004500,0,0.000000,0,0\n"
    )
    assert answer.err == "total: 43.046634 USD, 7 jobs\n"


@pytest.mark.parametrize("value", ["=1+1", "+1", "-1", "@SUM(A1)"])
def test_no_text_is_a_formula_in_a_spreadsheet(call: Call, mirror: Engine, value: str) -> None:
    used(mirror, job(1, "2025-01-01", 1, MINI))
    put(mirror, "job_metadata", [{"job_id": "ftjob-1", "name": "t", "value": value}])
    answer = call("spend", "--by", "metadata.t", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(answer.out))
    assert row["metadata.t"] == f"'{value}"


def test_a_key_may_be_called_like_a_column(call: Call, mirror: Engine) -> None:
    used(mirror, job(1, "2025-01-01", 1, MINI))
    put(mirror, "job_metadata", [{"job_id": "ftjob-1", "name": "a_microusd", "value": "x"}])
    answer = call("spend", "--by", "metadata.a_microusd", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(answer.out))
    assert (row["metadata.a_microusd"], row["cost_usd"]) == ("x", "0.000003")


@pytest.mark.parametrize("form", ["table", "csv", "json"])
def test_nothing_in_it_steers_a_terminal(call: Call, mirror: Engine, form: str) -> None:
    used(mirror, job(1, "2025-01-01", 1, "a\x1b[2J\nb\u202e"))
    answer = call("spend", "--by", "model", "--format", form)
    assert answer.code == 0
    assert "\x1b" not in answer.out
    assert "\u202e" not in answer.out
    assert "\nb" not in answer.out


def test_an_empty_mirror_says_so(call: Call) -> None:
    said = "the mirror holds no jobs yet, so nothing was spent; `ftmirror sync` brings them\n"
    assert call("spend") == Answer(0, said, "")
    head = "month,jobs,trained_tokens,cost_usd,uncertain_jobs,uncertain_usd,unpriced_jobs,open_jobs"
    assert call("spend", "--format", "csv") == Answer(0, f"{head}\n", said)
    answer = call("spend", "--format", "json")
    assert (answer.code, answer.err) == (0, said)
    assert json.loads(answer.out)["rows"] == []
    assert json.loads(answer.out)["total"]["cost_usd"] == "0.000000"


def test_so_does_a_period_without_jobs(call: Call, mirror: Engine) -> None:
    some_jobs(mirror)
    said = "no job ended since 2026-01-01 00:00 UTC, so nothing was spent\n"
    assert call("spend", "--since", "2026-01-01") == Answer(0, said, "")


def test_on_a_terminal_each_row_has_a_bar(mirror: Engine) -> None:
    some_jobs(mirror)
    mirror.dispose()
    ours, its = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "etl.cli", "spend"],
        stdout=its,
        check=True,
        env={**os.environ, "NO_COLOR": "1", "PYTHONPATH": str(Path(__file__).parents[1])}
        | {"PYTHONIOENCODING": "utf-8", "TERM": "xterm", "COLUMNS": "80", "LINES": "24"},
    )
    os.close(its)
    text = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # what Linux says at the end
            break
        if not piece:
            break
        text += piece
    os.close(ours)
    rows = [line.rstrip("\r") for line in text.decode().split("\n")]
    assert [line[-35:] for line in rows if line.startswith("2025-01")] == [" 37.04   " + "█" * 26]
    assert next(line for line in rows if line.startswith("2024-09")).endswith("  6.00   ████▏")
    assert next(line for line in rows if line.startswith("2025-03")).endswith("  0.00")
    assert max(len(line) for line in rows) <= 80


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--by", "moth"], 'nothing is summed by "moth" (did you mean month?)'),
        (["--since", "2025-13-01"], "there is no such day"),
        (["--since", "soon"], "a duration is a number and a unit, as 90s, 15m, 2h or 1d"),
        (["--since", "99999999999d"], "that is before all calendars"),
        (["--since", "2025-02-01", "--until", "2025-02-01"], "--since must be before --until"),
        (["--check", "--by", "day"], "--check has its own columns; leave --by out"),
        (["--notify"], "--notify goes with --check"),
        (["--check"], "there is no budget to check: write [budget] and below it monthly_usd = 500"),
    ],
)
def test_what_cannot_be_asked_for(call: Call, words: list[str], said: str) -> None:
    answer = call("spend", *words)
    assert answer.code == 2
    assert said in answer.err
    as_json = call("spend", *words, "--format", "json")
    assert said in json.loads(as_json.out)["error"]


# Budgets


def budget(text: str, alerts: str = "") -> None:
    Path("ftmirror.toml").write_text(f"[budget]\n{text}\n{alerts}")


def test_each_limit_is_shown_with_what_was_spent(call: Call, mirror: Engine) -> None:
    some_jobs(mirror)
    budget('monthly_usd = 37\n[[budget.limits]]\nproject = "proj_2"\nmonthly_usd = 0.01')
    answer = call("spend", "--check", "--since", "2025-01-01", "--until", "2025-03-01")
    assert (answer.code, answer.err) == (5, "")
    assert answer.out == (
        "limit           month    limit (USD)  spent (USD)\n"
        "all             2025-01        37.00        37.04  exceeded\n"
        "all             2025-02        37.00         0.01  within?\n"
        "project proj_2  2025-01         0.01         0.00  within\n"
        "project proj_2  2025-02         0.01        <0.01  within\n"
        "\n"
        "all: not in it are 2 jobs of unknown cost, so that more may have been spent.\n"
    )


def test_within_all_limits_it_exits_0(call: Call, mirror: Engine) -> None:
    some_jobs(mirror)
    put(mirror, "job_metadata", [{"job_id": "ftjob-2", "name": "team", "value": "nlp"}])
    budget('[[budget.limits]]\nmetadata = {team = "nlp"}\nmonthly_usd = 0')
    answer = call("spend", "--check")
    month = f"{datetime.now(UTC):%Y-%m}"
    assert answer == Answer(
        0,
        "limit              month    limit (USD)  spent (USD)\n"
        f"metadata team=nlp  {month}         0.00         0.00  within\n",
        "",
    )


def test_a_limit_that_no_job_is_of_says_so(call: Call, mirror: Engine) -> None:
    some_jobs(mirror)
    budget(
        '[[budget.limits]]\nproject = "proj_typo"\nmonthly_usd = 1\n'
        '[[budget.limits]]\nmetadata = {"te am" = "a"}\nmonthly_usd = 1'
    )
    words = ["spend", "--check", "--since", "2025-01-01", "--until", "2025-02-01"]
    answer = call(*words)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out == (
        "limit              month    limit (USD)  spent (USD)\n"
        "project proj_typo  2025-01         1.00         0.00  within?\n"
        "metadata te am=a   2025-01         1.00         0.00  within?\n"
        "\n"
        "project proj_typo: no job in the mirror is of it, in any month; is it spelled as\n"
        "  in `ftmirror spend --by project`?\n"
        "metadata te am=a: no job in the mirror is of it, in any month; is it spelled as\n"
        "  in `ftmirror spend --by 'metadata.te am'`?\n"
    )
    told = json.loads(call(*words, "--format", "json").out)["limits"]
    assert [(one["certain"], one["matched"]) for one in told] == [(False, False)] * 2


def test_jobs_without_a_project_are_told_of_beside_the_limit_of_one(
    call: Call, mirror: Engine
) -> None:
    used(
        mirror,
        job(1, "2025-02-02", 1_000_000, MINI),
        job(2, "2025-02-02", 1_000_000, MINI, project_id=None),
        job(3, "2025-01-02", 1_000_000, MINI, project_id=None),
    )
    budget('[[budget.limits]]\nproject = "proj_1"\nmonthly_usd = 5')
    answer = call("spend", "--check", "--since", "2025-02-01", "--until", "2025-03-01")
    assert answer.code == 0
    assert answer.out == (
        "limit           month    limit (USD)  spent (USD)\n"
        "project proj_1  2025-02         5.00         3.00  within?\n"
        "\n"
        "project proj_1: 1 job of 2025-02 without a project is not in it; give each\n"
        "  source its project in the configuration.\n"
    )


def test_what_is_only_uncertain_is_told_apart(call: Call, mirror: Engine) -> None:
    used(mirror, job(1, "2025-02-02", 10_000_000, MINI, status="failed"))
    budget("monthly_usd = 20")
    answer = call("spend", "--check", "--since", "2025-02-01", "--until", "2025-03-01")
    assert answer.code == 5
    assert answer.out == (
        "limit  month    limit (USD)  spent (USD)\n"
        "all    2025-02        20.00        30.00  exceeded?\n"
        "\n"
        "all, 2025-02: 30.00 USD of it is uncertain (1 job); without that the limit would\n"
        "  hold.\n"
    )


def test_a_check_as_json_and_csv(call: Call, mirror: Engine) -> None:
    some_jobs(mirror)
    budget("monthly_usd = 37")
    words = ["spend", "--check", "--since", "2025-01-01", "--until", "2025-02-01", "--format"]
    answer = call(*words, "json")
    assert answer.code == 5
    assert json.loads(answer.out) == {
        "exceeded": True,
        "limits": [
            {
                "limit": "all",
                "project": None,
                "metadata": {},
                "month": "2025-01",
                "limit_microusd": 37_000_000,
                "limit_usd": "37.000000",
                "jobs": 1,
                "trained_tokens": 12_345_678,
                "cost_microusd": 37_037_034,
                "cost_usd": "37.037034",
                "uncertain_jobs": 0,
                "uncertain_microusd": 0,
                "uncertain_usd": "0.000000",
                "unpriced_jobs": 0,
                "open_jobs": 0,
                "exceeded": True,
                "certain": True,
                "matched": True,
                "without_project_jobs": 0,
            }
        ],
    }
    assert call(*words, "csv").out == (
        "limit,month,limit_usd,jobs,trained_tokens,cost_usd,uncertain_jobs,uncertain_usd,"
        "unpriced_jobs,open_jobs,exceeded,certain,matched,without_project_jobs\n"
        "all,2025-01,37.000000,1,12345678,37.037034,0,0.000000,0,0,yes,yes,yes,0\n"
    )


# Alerts


def messages(server: Server) -> list[tuple[str, str]]:
    """Titles and texts that came."""
    bodies = [json.loads(seen.body) for seen in server.seen]
    return [(body["title"], body["message"]) for body in bodies]


def address(server: Server) -> str:
    return f"json://127.0.0.1:{server.port}/{TOKEN}"


JANUARY = ("--check", "--since", "2025-01-01", "--until", "2025-02-01")


def test_an_exceeded_limit_is_told_once(
    call: Call, mirror: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_jobs(mirror)
    budget("monthly_usd = 37")
    with serve(lambda _: Reply()) as server:
        monkeypatch.setenv("FTMIRROR_ALERT_URLS", address(server))
        first = call("spend", *JANUARY, "--notify")
        assert first.code == 5
        assert first.err == 'alert sent to 1 address: "ftmirror: training is over budget"\n'
        assert call("spend", *JANUARY, "--notify").err == ""
        told = (
            "ftmirror: training is over budget",
            "all: 37.04 USD spent in 2025-01, of 37.00 USD",
        )
        assert messages(server) == [told]
        # Another limit is another fact.
        budget("monthly_usd = 37.03")
        assert call("spend", *JANUARY, "--notify").code == 5
        assert len(server.seen) == 2
        assert server.seen[0].path == f"/{TOKEN}"


def test_within_the_limits_nothing_is_sent(
    call: Call, mirror: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    some_jobs(mirror)
    budget("monthly_usd = 38")
    with serve(lambda _: Reply()) as server:
        monkeypatch.setenv("FTMIRROR_ALERT_URLS", address(server))
        answer = call("spend", *JANUARY, "--notify")
    assert (answer.code, answer.err, server.seen) == (0, "", [])


@pytest.mark.parametrize("verbosity", ["-q", "-vvv"])
def test_an_alert_that_nobody_took_is_an_error_and_sent_again(
    call: Call, mirror: Engine, monkeypatch: pytest.MonkeyPatch, verbosity: str
) -> None:
    some_jobs(mirror)
    budget("monthly_usd = 37")
    with serve([Reply(f"no {TOKEN}", status=500), Reply()]) as server:
        monkeypatch.setenv("FTMIRROR_ALERT_URLS", address(server))
        failed = call("spend", *JANUARY, "--notify", verbosity)
        assert failed.code == 1
        assert failed.err.endswith(
            'error: the alert "ftmirror: training is over budget" did not reach address number 1 '
            "(json), and is sent again the next time; -v says why\n"
        )
        assert TOKEN not in failed.out + failed.err
        assert call("spend", *JANUARY, "--notify").code == 5
        assert len(messages(server)) == 2


def test_of_several_addresses_the_one_that_failed_is_named(
    call: Call, mirror: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one took is not sent to it again because of the other."""
    some_jobs(mirror)
    budget("monthly_usd = 37")
    with serve([Reply()]) as up, serve([Reply(status=404)]) as down:
        monkeypatch.setenv("FTMIRROR_ALERT_URLS", f"{address(down)}, {address(up)}")
        answer = call("spend", *JANUARY, "--notify")
        assert answer.code == 1
        assert "did not reach address number 1 (json); -v says why" in answer.err
        assert call("spend", *JANUARY, "--notify").code == 5
        assert (len(up.seen), len(down.seen)) == (1, 1)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (
            "",
            "no address for alerts: FTMIRROR_ALERT_URLS is not set; `export FTMIRROR_ALERT_URLS=…`",
        ),
        (
            f"json://127.0.0.1,nothing://{TOKEN}",
            "alerts: address number 2 (nothing) of FTMIRROR_ALERT_URLS is none that apprise knows",
        ),
        (TOKEN, "alerts: address number 1 of FTMIRROR_ALERT_URLS is none that apprise knows"),
    ],
)
def test_addresses_are_checked_before_anything_else(
    call: Call, monkeypatch: pytest.MonkeyPatch, value: str, said: str
) -> None:
    monkeypatch.setenv("FTMIRROR_ALERT_URLS", value)
    answer = call("status", "--notify", "-vvv")
    assert answer.code == 2
    assert said in answer.err
    assert answer.out == ""
    assert TOKEN not in answer.err


def test_without_the_extra_it_says_how_to_get_it(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTMIRROR_ALERT_URLS", "json://127.0.0.1")
    monkeypatch.setitem(sys.modules, "apprise", None)
    answer = call("status", "--notify")
    assert answer.code == 2
    assert answer.err == "error: alerts need apprise: pip install 'ftmirror[alerts]'\n"


def test_addresses_may_come_from_a_file_a_line_each(call: Call, mirror: Engine) -> None:
    some_jobs(mirror)
    with serve(lambda _: Reply()) as server:
        Path("addresses").write_text(f"{address(server)}\n\n{address(server)}a\n")
        budget("monthly_usd = 37", '[alerts]\nurls_file = "addresses"')
        assert call("spend", *JANUARY, "--notify").code == 5
        assert [seen.path for seen in server.seen] == [f"/{TOKEN}", f"/{TOKEN}a"]


def test_an_alert_that_cannot_be_noted_is_an_error(
    call: Call, mirror: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a user who may only look."""
    some_jobs(mirror)
    budget("monthly_usd = 37")

    def refuse(*_: object) -> None:
        raise StoreError("permission denied for table sent_alerts")

    monkeypatch.setattr("etl.alerts.note", refuse)
    with serve(lambda _: Reply()) as server:
        monkeypatch.setenv("FTMIRROR_ALERT_URLS", address(server))
        answer = call("spend", *JANUARY, "--notify")
    assert answer.code == 1
    assert len(server.seen) == 1
    assert answer.err.endswith(
        "error: an alert may be sent twice, for it could not be noted: permission denied for table "
        "sent_alerts\n"
    )


def test_check_names_a_file_of_addresses_that_all_may_read(call: Call) -> None:
    Path("addresses").write_text("json://127.0.0.1")
    Path("addresses").chmod(0o644)
    budget("monthly_usd = 37", '[alerts]\nurls_file = "addresses"')
    said = "every user of this machine may read"
    assert said in call("check").out
    Path("addresses").chmod(0o600)
    assert said not in call("check").out


def test_check_says_what_counts_of_prices_limits_and_addresses(call: Call) -> None:
    line = "ok      price book: 18 prices, none of them yours\n"
    answer = call("check")
    assert line in answer.out
    assert "budget" not in answer.out
    assert "alerts" not in answer.out
    price = 'provider = "openai"\nmodel = "m"\nunit = "1M trained tokens"\nprice = 1\n'
    Path("own.toml").write_text(f"[[prices]]\n{price}valid_from = 2024-01-01\n")
    Path("addresses").write_text(f"json://127.0.0.1/{TOKEN}\njson://127.0.0.1/other\n")
    prices = '[prices]\nfile = "own.toml"\n'
    limit = '[[budget.limits]]\nproject = "proj_1"\nmonthly_usd = 1\n'
    budget(f"monthly_usd = 37\n{limit}", f'[alerts]\nurls_file = "addresses"\n{prices}')
    answer = call("check")
    assert "ok      price book: 19 prices, 1 of them yours\n" in answer.out
    assert "ok      budget: 2 limits\n" in answer.out
    assert "ok      alerts: 2 addresses\n" in answer.out
    assert TOKEN not in answer.out + answer.err
    Path("addresses").unlink()
    answer = call("check")
    assert "no      alerts: [alerts]: urls from file addresses cannot be read: " in answer.out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "own.toml: the price book cannot be read: "),
        ("[[prices]]\nmodel = 5\n", "own.toml: [[prices]] number 1: provider: is missing;"),
    ],
)
def test_a_price_file_that_a_sync_would_refuse_fails_the_check(
    call: Call, text: str | None, said: str
) -> None:
    Path("ftmirror.toml").write_text('[prices]\nfile = "own.toml"\n')
    if text is not None:
        Path("own.toml").write_text(text)
    answer = call("check", "--json")
    assert answer.code == 1
    found = [one for one in json.loads(answer.out)["checks"] if one["check"] == "price book"]
    assert [(one["ok"], one["required"]) for one in found] == [(False, True)] * len(found)
    assert said in found[0]["said"]
    assert "failed  price book: " in call("check").out


# Alerts of `status`

NOW = datetime.now(UTC)


def ran(engine: Engine, number: int, mode: str = "incremental", **changes: Any) -> None:
    """A run of ten days ago that has ended."""
    counts = dict.fromkeys(COUNTS, 0)
    at = NOW - timedelta(days=10)
    said = {"status": "success", "error": None, "started_at": at, "finished_at": at, **changes}
    put(engine, "sync_runs", [{"id": number, "mode": mode, **said, **counts}])
    part = {"run_id": number, "source": "default", "resource": "jobs", "is_whole": True}
    put(engine, "sync_resource_runs", [{**part, **said, **counts}])


def seen(engine: Engine, number: int, run_id: int, **changes: Any) -> None:
    """A job that failed on the day of that run, and its record as the run took it in."""
    ended = f"{NOW - timedelta(days=10, minutes=-number):%Y-%m-%d %H:%M:%S}"
    made = job(number, ended, None, MINI, status="failed", finished_at=None)
    message = f"bad file {number}"
    put(engine, "jobs", [{**made, "error_message": message, **changes}])
    put(engine, "records", [record(number, run_id)])


def record(number: int, run_id: int, version: int = 1) -> dict[str, Any]:
    return {
        "resource": "jobs",
        "id": f"ftjob-{number}",
        "version": version,
        "last_version": version,
        "id_space": "openai",
        "source": "default",
        "provider": "openai",
        "payload": "{}",
        "payload_encoding": "text",
        "digest": "",
        "canonical_digest": "",
        "status": "failed",
        "changed_at": NOW,
        "run_id": run_id,
        "first_seen_at": NOW,
    }


@pytest.fixture
def chat(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Somebody who is told of everything."""
    with serve(lambda _: Reply()) as server:
        monkeypatch.setenv("FTMIRROR_ALERT_URLS", address(server))
        yield server


def test_jobs_that_failed_are_told_of_once(call: Call, mirror: Engine, chat: Server) -> None:
    ran(mirror, 1)
    seen(mirror, 1, 1)  # when nobody asked yet
    ran(mirror, 2)
    seen(mirror, 2, 2)
    seen(mirror, 3, 2, error_message=None, project_id=None)
    assert call("status", "--notify").code == 0
    assert messages(chat) == [
        (
            "ftmirror: 2 jobs failed",
            f"ftjob-3 ({MINI}): no message\nftjob-2 ({MINI}, proj_1): bad file 2",
        )
    ]
    call("status", "--notify")
    ran(mirror, 3)
    call("status", "--notify")
    assert len(messages(chat)) == 1
    # Two runs later, both are looked at.
    ran(mirror, 4)
    seen(mirror, 4, 4)
    ran(mirror, 5)
    call("status", "--notify")
    assert messages(chat)[1:] == [
        ("ftmirror: a job failed", f"ftjob-4 ({MINI}, proj_1): bad file 4")
    ]


def test_at_first_only_jobs_that_ended_lately_are_told_of(
    call: Call, mirror: Engine, chat: Server
) -> None:
    """A first sync brings the failures of years."""
    ran(mirror, 1)
    began = NOW - timedelta(days=10)
    seen(mirror, 1, 1, finished_at=began - timedelta(hours=24))
    seen(mirror, 2, 1, finished_at=began - timedelta(hours=24, seconds=1))
    seen(mirror, 3, 1, created_at=began - timedelta(days=400))
    call("status", "--notify")
    assert messages(chat) == [("ftmirror: a job failed", f"ftjob-1 ({MINI}, proj_1): bad file 1")]
    # From then on all are news, however late a sync comes to know of them.
    ran(mirror, 2)
    seen(mirror, 4, 2, created_at=began - timedelta(days=400))
    call("status", "--notify")
    assert [text for _, text in messages(chat)[1:]] == [f"ftjob-4 ({MINI}, proj_1): bad file 4"]


def test_a_failed_job_that_changes_again_is_no_news(
    call: Call, mirror: Engine, chat: Server
) -> None:
    ran(mirror, 1)
    seen(mirror, 1, 1)
    call("status", "--notify")
    ran(mirror, 2)
    old = record(1, 1)
    del old["last_version"], old["first_seen_at"]
    put(mirror, "record_versions", [old])
    with mirror.begin() as connection:
        connection.execute(update(metadata.tables["records"]).values(version=2, run_id=2))
    call("status", "--notify")
    assert len(messages(chat)) == 1


def test_neither_is_what_was_imported_nor_what_a_run_brings_that_is_not_over(
    call: Call, mirror: Engine, chat: Server
) -> None:
    ran(mirror, 1)
    call("status", "--notify")
    ran(mirror, 2, mode="import")
    seen(mirror, 1, 2)
    ran(mirror, 3)
    ran(mirror, 4, status="running", finished_at=None)
    seen(mirror, 2, 4)
    call("status", "--notify")
    assert messages(chat) == []
    with mirror.begin() as connection:
        connection.execute(update(metadata.tables["sync_runs"]).values(finished_at=NOW))
    call("status", "--notify")
    assert [title for title, _ in messages(chat)] == ["ftmirror: a job failed"]


def test_of_many_failed_jobs_some_are_named(call: Call, mirror: Engine, chat: Server) -> None:
    ran(mirror, 1)
    for number in range(1, 24):
        seen(mirror, number, 1)
    call("status", "--notify")
    ((title, text),) = messages(chat)
    assert title == "ftmirror: 23 jobs failed"
    assert len(text.splitlines()) == 21
    assert text.splitlines()[-1] == "and 3 more"


def test_what_a_server_said_is_one_short_line_without_secrets(
    call: Call, mirror: Engine, chat: Server
) -> None:
    ran(mirror, 1)
    seen(mirror, 1, 1, error_message=f"no\n\x1b[2J sk-abcdefghijkl {TOKEN} {'x' * 400}")
    call("status", "--notify")
    ((_, text),) = messages(chat)
    assert text.startswith(f"ftjob-1 ({MINI}, proj_1): no\\n\\x1b[2J sk-*** *** xxx")
    assert len(text) == 301


def test_a_stale_mirror_is_told_of_until_it_is_in_step_again(
    call: Call, mirror: Engine, monkeypatch: pytest.MonkeyPatch, chat: Server
) -> None:
    monkeypatch.setattr("etl.cli.standing.configured", lambda _: [("default", "jobs")])
    ran(mirror, 1)
    assert call("status", "--max-age", "11d", "--notify").code == 0
    assert messages(chat) == []
    first = call("status", "--max-age", "8d", "--notify")
    assert first.code == 5
    assert "warning: default, jobs: in step 10.0 days ago\n" in first.err
    assert call("status", "--max-age", "8d", "--notify").code == 5
    assert messages(chat) == [
        ("ftmirror: the mirror is behind", "default, jobs: in step 10.0 days ago")
    ]
    ran(mirror, 2, started_at=NOW - timedelta(days=9))
    assert call("status", "--max-age", "8d", "--notify").code == 5
    assert len(messages(chat)) == 2
