"""`ftmirror prices` as somebody at a terminal, or a script, sees it; and who takes its book up."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from etl.db import lease
from etl.db.engine import open_engine
from etl.simulator import Simulator
from tests.calling import Call
from tests.jobs import job
from tests.test_cli import call, simulator

__all__ = ["call", "simulator"]

OWN = """
[[prices]]
provider = "azure"
model = "gpt-35-turbo*"
unit = "1M trained tokens"
price = 1.234567
valid_from = 2024-01-01
confidence = "likely"

[[prices]]
provider = "openai"
model = "gpt-4o-mini-2024-07-18"
method = "dpo"
unit = "1M trained tokens"
price = 2
valid_from = 2024-12-01
"""


@pytest.fixture
def own(call: Call) -> Call:
    """Call `ftmirror` where the settings name a price book."""
    Path("ftmirror.toml").write_text('[prices]\nfile = "own.toml"\n')
    Path("own.toml").write_text(OWN)
    return call


def mirror_jobs(call: Call, *jobs: dict[str, Any]) -> None:
    Path("jobs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in jobs))
    answer = call("import", "jobs.jsonl")
    assert answer.code == 0, answer.err


def in_mirror(query: str) -> list[Any]:
    connection = sqlite3.connect("ftmirror.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def test_the_list_fits_and_says_whose_a_price_is(own: Call) -> None:
    answer = own("prices", "list")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[:5] == [
        "azure",
        "model               USD  from        until  note",
        "gpt-35-turbo*  1.234567  2024-01-01         likely, yours",
        "",
        "openai",
    ]
    assert "gpt-4o-mini-2024-07-18     2.00  2024-12-01              dpo, yours" in lines
    assert "o4-mini-2025-04-16       100.00  2025-05-01              per hour" in lines
    assert lines[-2].startswith("part free: some tokens were free in that time")
    assert not Path("ftmirror.db").exists()


def test_a_note_goes_on_below_before_a_name_is_broken(own: Call) -> None:
    name = "gpt-4.1-mini-2025-04-14-and-more"
    changes = {
        '"gpt-4o-mini-2024-07-18"': f'"{name}"',
        'method = "dpo"': 'method = "reinforcement"',
    }
    text = OWN.replace("2024-12-01", '2024-12-01\nvalid_until = 2025-01-01\nconfidence = "likely"')
    for old, new in {**changes, "= 2\n": "= 2\nhas_free_allowance = true\n"}.items():
        text = text.replace(old, new)
    first, _, second = text.rpartition('"1M trained tokens"')
    Path("own.toml").write_text(f'{first}"training hour"{second}')
    answer = own("prices", "list")
    assert (answer.code, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert max(map(len, lines)) <= 80
    (number,) = (number for number, line in enumerate(lines) if line.startswith(name))
    assert [line.rsplit("  ", 1)[1] for line in lines[number : number + 4]] == [
        "reinforcement,",
        "per hour,",
        "likely, part",
        "free, yours",
    ]


def test_the_list_for_machines_keeps_every_digit(own: Call) -> None:
    told = json.loads(own("prices", "list", "--json").out)
    assert len(told["prices"]) == 20
    assert told["prices"][-1] == {
        "provider": "openai",
        "model": "gpt-4o-mini-2024-07-18",
        "method": "dpo",
        "unit": "1M trained tokens",
        "price_usd": "2.00",
        "valid_from": "2024-12-01",
        "valid_until": None,
        "has_free_allowance": False,
        "confidence": "sure",
        "source": "",
        "file": str(Path.cwd() / "own.toml"),
        "entry": 2,
        "own": True,
        "precedence": 20,
    }
    assert [one["price_usd"] for one in told["prices"] if one["provider"] == "azure"] == [
        "1.234567"
    ]
    assert {one["contains"]: one["kind"] for one in told["line_items"]} == {
        "train": "training",
        "fine-tun": "training",
    }


def test_the_check_needs_no_mirror_and_makes_none(call: Call) -> None:
    answer = call("prices", "check")
    assert (answer.code, answer.out) == (
        0,
        "the price book is fine: 18 prices\nthere is no mirror yet to hold it against\n",
    )
    assert list(Path.cwd().iterdir()) == []
    told = call("prices", "check", "--json").json
    assert told == {
        "prices": 18,
        "own": 0,
        "line_items": 2,
        "unpriced": None,
        "jobs_without_model": 0,
    }


@pytest.mark.parametrize(
    "words",
    [
        ("prices", "check"),
        ("prices", "list"),
        ("sync",),
        ("import", "own.toml"),
        ("replay",),
        ("db", "upgrade"),
    ],
)
def test_a_wrong_file_ends_a_command_before_it_begins(
    own: Call, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-this-test")
    Path("own.toml").write_text(OWN + 'prise = 1\n[[prices]]\nmodel = "a"\n')
    answer = own(*words)
    assert answer.code == 2
    place = f"error: {Path.cwd()}/own.toml: [[prices]] number"
    assert [line for line in answer.err.splitlines() if line.startswith(place)] == [
        f"{place} 2 (gpt-4o-mini-2024-07-18): prise: unknown key (did you mean price?)",
        f'{place} 3 (a): provider: is missing; write provider = "openai"',
        f'{place} 3 (a): unit: is missing; write unit = "1M trained tokens"',
        f"{place} 3 (a): price: is missing; write US dollars, as price = 25.00",
        f"{place} 3 (a): valid_from: is missing; write the first day of the price, as 2024-08-20",
    ]
    assert not Path("ftmirror.db").exists()


def test_models_without_a_price_are_found_with_their_jobs(call: Call) -> None:
    mirror_jobs(
        call,
        job("ftjob-1", model="new-model"),
        job("ftjob-2", model="new-model", created_at=1735400000),
        job("ftjob-3", created_at=1704067199, finished_at=1704067300),
        job("ftjob-4"),
        job("ftjob-5", "running", model="newer-model"),
    )
    answer = call("prices", "check")
    assert answer.code == 5
    assert answer.out.splitlines()[:6] == [
        "the price book is fine: 18 prices",
        "no price for ended jobs of these models:",
        "",
        "openai",
        "model                   per        jobs  first       last        prices",
        "new-model               1M tokens     2  2024-12-27  2024-12-28  none",
    ]
    assert (
        "gpt-4o-mini-2024-07-18  1M tokens     1  2023-12-31  2023-12-31  other days" in answer.out
    )
    assert max(map(len, answer.out.splitlines())) <= 80
    told = call("prices", "check", "--json")
    assert told.code == 5
    assert json.loads(told.out)["unpriced"][0] == {
        "provider": "openai",
        "model": "new-model",
        "unit": "trained_token",
        "reason": "no_price",
        "jobs": 2,
        "trained_tokens": 3400,
        "first_at": "2024-12-27T18:20:48Z",
        "last_at": "2024-12-28T15:33:20Z",
    }


def test_absurd_counts_of_tokens_stop_no_check(call: Call) -> None:
    """Their sum has no room in 64 bits."""
    most = 2**63 - 1
    some = [job(f"ftjob-{n}", model="new-model", trained_tokens=most) for n in range(3)]
    mirror_jobs(call, *some, job("ftjob-9", model="new-model", trained_tokens=10**12))
    answer = call("prices", "check")
    assert (answer.code, answer.err) == (5, "")
    (found,) = json.loads(call("prices", "check", "--json").out)["unpriced"]
    assert (found["jobs"], found["trained_tokens"]) == (4, 10**12)


def test_for_a_job_without_a_model_no_price_is_asked(call: Call) -> None:
    mirror_jobs(call, job("ftjob-1", model=None), job("ftjob-2"))
    answer = call("prices", "check")
    assert answer.code == 0
    assert answer.out == (
        "the price book is fine: 18 prices\n"
        "every model of an ended job in the mirror has its price\n"
        "1 ended job names no model, so no price can be given for it.\n"
    )
    told = call("prices", "check", "--json")
    assert told.code == 0
    found = json.loads(told.out)
    assert (found["unpriced"], found["jobs_without_model"]) == ([], 1)


def test_a_price_that_was_just_written_is_checked_with(call: Call) -> None:
    mirror_jobs(call, job("ftjob-1", model="new-model"))
    assert call("prices", "check").code == 5
    Path("ftmirror.toml").write_text('[prices]\nfile = "own.toml"\n')
    Path("own.toml").write_text(OWN.replace("gpt-4o-mini-2024-07-18", "new-*"))
    assert call("prices", "check").code == 5  # a price of DPO alone
    Path("own.toml").write_text(Path("own.toml").read_text().replace('method = "dpo"\n', ""))
    answer = call("prices", "check")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "the price book is fine: 20 prices, 2 of them yours",
        "every model of an ended job in the mirror has its price",
    ]
    assert in_mirror("SELECT cost_usd FROM job_costs") == [(0.0034,)]


def test_no_name_of_a_model_can_steer_the_terminal(call: Call) -> None:
    mirror_jobs(call, job("ftjob-1", model="new\x1b[2J"))
    answer = call("prices", "check")
    assert answer.code == 5
    assert "new\\x1b[2J" in answer.out
    assert "\x1b" not in answer.out


def test_the_check_goes_on_while_another_writes(call: Call) -> None:
    mirror_jobs(call, job("ftjob-1"))
    Path("ftmirror.toml").write_text('[prices]\nfile = "own.toml"\n')
    Path("own.toml").write_text(OWN)
    engine = open_engine("sqlite:///ftmirror.db")
    with lease.hold(engine, "sync"):
        answer = call("prices", "check")
    engine.dispose()
    assert answer.code == 0
    assert answer.err.startswith("warning: costs are by other prices than those of the price book")


def test_db_upgrade_takes_up_the_book_and_says_when_it_changed(own: Call) -> None:
    first = own("db", "upgrade")
    assert (first.code, first.err) == (0, "")
    assert in_mirror("SELECT count(*) FROM prices") == [(20,)]
    Path("own.toml").unlink()
    Path("ftmirror.toml").unlink()
    second = own("db", "upgrade")
    assert second.out.endswith(": nothing to do\n")
    assert second.err == "the table prices was brought into step with the price book\n"
    assert in_mirror("SELECT count(*) FROM prices") == [(18,)]
    assert own("db", "upgrade").err == ""


def test_sync_takes_up_the_book_whichever_resource_is_named(
    own: Call, simulator: Simulator
) -> None:
    assert own("sync", "--resource", "files").code == 0
    assert in_mirror("SELECT count(*) FROM prices") == [(20,)]
    Path("own.toml").write_text("")
    assert own("sync", "--resource", "files", "--dry-run").code == 0
    assert in_mirror("SELECT count(*) FROM prices") == [(20,)]
    assert own("sync", "--resource", "files").code == 0
    assert in_mirror("SELECT count(*) FROM prices") == [(18,)]


def test_replay_takes_up_the_book_whatever_it_is_to_rebuild(own: Call) -> None:
    mirror_jobs(own, job("ftjob-1"))
    Path("own.toml").write_text("")
    assert own("replay", "--resource", "files").code == 0
    assert in_mirror("SELECT count(*) FROM prices") == [(18,)]


def test_the_book_is_found_beside_the_settings(call: Call, tmp_path: Path) -> None:
    folder = tmp_path / "etc"
    folder.mkdir()
    (folder / "mirror.toml").write_text('[prices]\nfile = "own.toml"\n')
    (folder / "own.toml").write_text(OWN)
    told = call("prices", "list", "--json", "--config", "etc/mirror.toml").json
    assert len(told["prices"]) == 20


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("prices = 1", "prices: must be a table: a line [prices], then file = "),
        ("[prices]\nfiel = 'a'", "[prices]: fiel: unknown key (did you mean file?)"),
        ("[prices]\nfile = 1", "[prices]: file: is a whole number; must be text in quotes"),
    ],
)
def test_a_wrong_setting_is_named(call: Call, text: str, problem: str) -> None:
    Path("ftmirror.toml").write_text(text)
    answer = call("prices", "list")
    assert answer.code == 2
    assert f"error: ftmirror.toml: {problem}" in answer.err
