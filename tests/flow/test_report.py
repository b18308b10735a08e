"""The report: the same figures on every database, as the views have them, and nothing that runs."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

import etl.cli
from etl.db import prices
from etl.report.figures import Period, Sum
from etl.report.queries import read
from etl.spend.prices import load
from etl.spending import Amounts, Wanted, spending
from tests.flow.test_spend_views import filled
from tests.reporting import (
    ATTACK,
    EVER,
    LARGE,
    MINI,
    NOW,
    Page,
    at,
    fill,
    fill_bills,
    job,
    made,
    put,
    put_jobs,
    visit,
)

PARTS = [
    "months",
    "so-far",
    "dearest",
    "whom",
    "outcomes",
    "failures",
    "times",
    "curves",
    "unpriced",
    "billed",
    "fresh",
]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(
    capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Call:
    """Call `ftmirror report` in a directory of its own: exit code, stdout, stderr."""
    monkeypatch.chdir(tmp_path)

    def run(engine: Engine, *arguments: str) -> tuple[int, str, str]:
        url = engine.url.render_as_string(hide_password=False)
        monkeypatch.setenv("FTMIRROR_DATABASE_URL", url)
        capsysbinary.readouterr()
        code = etl.cli.main(["report", *arguments])
        said = capsysbinary.readouterr()
        return code, said.out.decode(), said.err.decode()

    return run


def rows(engine: Engine, query: str) -> list[tuple[Any, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


# Figures


def test_the_tables_say_the_same_on_every_database(engine: Engine) -> None:
    fill(engine)
    page = Page(made(engine))
    assert page.tables["Spend by month and model"] == [
        ["Month", LARGE, MINI, "Total", "Jobs", "Trained tokens", "Without a price"],
        ["2025-03", "$0.00", "$6.30", "$6.30", "4", "2,100,500", "1"],
        ["2025-01", "$25.00", "$0.00", "$25.00", "2", "1,000,000", "1"],
        ["All", "$25.00", "$6.30", "$31.30", "6", "3,100,500", "2"],
    ]
    assert page.tables["Spend by model"] == [
        ["Model", "Cost", "of it uncertain", "Jobs", "Trained tokens", "Without a price", "Open"],
        [LARGE, "$25.00", "$0.00", "1", "1,000,000", "0", "0"],
        [MINI, "$6.30", "$0.30", "4", "2,100,000", "1", "1"],
        ["mystery-1", "$0.00", "$0.00", "1", "500", "1", "0"],
        ["All", "$31.30", "$0.30", "6", "3,100,500", "2", "1"],
    ]
    assert page.tables["Spend so far"] == [
        ["Day", "Spend", "So far"],
        ["2025-03-05", "$0.30", "$31.30"],
        ["2025-03-01", "$6.00", "$31.00"],
        ["2025-01-10", "$25.00", "$25.00"],
    ]
    assert page.tables["Jobs by outcome"] == [
        ["Month", "Succeeded", "Failed", "Cancelled", "Open", "All"],
        ["2025-03", "2", "1", "0", "1", "4"],
        ["2025-01", "1", "0", "1", "0", "2"],
        ["All", "3", "1", "1", "1", "6"],
    ]
    assert page.tables["What went wrong"] == [
        ["Reason", "Status", "Jobs", "Trained tokens", "What the last one was told"],
        ["cancelled", "cancelled", "1", "0", ""],
        ["server_error", "failed", "1", "100,000", "It broke: <b>sorry</b>\\x1b[2J"],
        ["All", "", "2", "100,000", ""],
    ]
    assert page.tables["Time in training"] == [
        ["Month", "Jobs", "Median", "Nine of ten within"],
        ["2025-03", "1", "100 min", "100 min"],
        ["2025-01", "1", "110 min", "110 min"],
    ]
    assert page.tables["Time in the queue"][1:] == [
        ["2025-03", "1", "30 min", "30 min"],
        ["2025-01", "1", "10 min", "10 min"],
    ]
    assert page.tables["Steps of ftjob-a"] == [
        ["Step", "Training loss", "Validation loss"],
        ["1", "2.5", "2.75"],
        ["2", "1.5", "1.25"],
        ["3", "0.5", "1.5"],
    ]
    assert [row[:2] + row[6:] for row in page.tables["Most expensive jobs"]] == [
        ["Job", "Suffix", "Trained tokens", "Cost", "Certainty"],
        ["ftjob-a", ATTACK, "1,000,000", "$25.00", "list price"],
        ["ftjob-b", "", "2,000,000", "$6.00", "list price"],
        ["ftjob-c", "", "100,000", "$0.30", "uncertain"],
    ]
    assert page.tables["Spend by team"] == [
        ["team", "Cost", "Jobs"],
        ["search", "$25.00", "1"],
        ["<i>legal</i>", "$6.00", "1"],
        ["untagged", "$0.30", "4"],
        ["All", "$31.30", "6"],
    ]
    assert [row[:2] for row in page.tables["Spend by Project"]] == [
        ["Project", "Cost"],
        ["proj_1", "$25.00"],
        ["not known", "$6.30"],
        ["All", "$31.30"],
    ]
    assert page.tables["Jobs without a price"][1:] == [
        [
            *("mystery-1", "supervised", "openai"),
            "The price book does not know the model: add it to your own price file.",
            *("1", "500"),
        ],
        [
            *(MINI, "supervised", "openai"),
            "The API does not say how many tokens or hours it was.",
            *("1", "0"),
        ],
        ["All", "", "", "", "2", "500"],
    ]
    assert "Best checkpoint: step 2, full validation loss 1.125" in page.parts["curves"]
    assert "OPENAI_ADMIN_KEY" in page.parts["billed"]


def test_the_figures_are_those_of_the_views(engine: Engine) -> None:
    fill(engine)
    spend = read(engine, EVER, NOW).spend
    sums = "cost_microusd, jobs, trained_tokens, unpriced_jobs, open_jobs"
    for view, key, found in (
        ("spend_by_month", "month", spend.months),
        ("spend_by_model", "base_model", spend.models),
        ("spend_by_project", "project_id", spend.projects),
    ):
        assert {
            key: (one.microusd, one.jobs, one.tokens, one.unpriced_jobs, one.open_jobs)
            for key, one in found.items()
        } == {
            row[0]: tuple(int(value or 0) for value in row[1:])
            for row in rows(engine, f"SELECT {key}, {sums} FROM {view}")
        }
    unpriced = rows(engine, "SELECT count(*) FROM unpriced_jobs")
    assert unpriced == [(sum(one.jobs for one in spend.unpriced.values()),)]


def test_each_metadata_key_is_what_the_view_says(engine: Engine) -> None:
    fill(engine)
    figures = read(engine, EVER, NOW)
    (team,) = figures.tags
    untagged = figures.spend.total.microusd - team.tagged.microusd
    found: dict[str | None, int] = {value: one.microusd for value, one in team.values}
    view = rows(engine, "SELECT value, cost_microusd FROM spend_by_metadata")
    assert {**found, None: untagged} == {value: int(micro) for value, micro in view}


def test_estimated_and_billed_stand_side_by_side(engine: Engine) -> None:
    fill(engine)
    fill_bills(engine)
    page = Page(made(engine))
    assert page.tables["Estimated and billed, USD"] == [
        [
            *("Month", "Estimated", "Jobs without a price", "Billed for training", "Difference"),
            "Billed for other things",
        ],
        ["2025-03", "6.30", "1", "not read", "not read", "not read"],
        ["2025-02", "0.00", "0", "0.00", "0.00", "0.99"],
        ["2025-01", "25.00", "1", "24.00", "-1.00", "2.50"],
        ["All", "31.30", "2", "24.00", "-1.00", "3.49"],
    ]
    assert [
        row[:2] + row[3:] for row in page.tables["Estimated and billed by month and project"][1:]
    ] == [
        ["2025-03", "not named", "6.30", "1", "not read", "not read", "not read"],
        ["2025-02", "proj_1", "0.00", "0", "0.00", "0.00", "0.99"],
        ["2025-01", "not named", "0.00", "1", "0.00", "0.00", "0.00"],
        ["2025-01", "proj_1", "25.00", "0", "24.00", "-1.00", "2.50"],
    ]
    said = page.parts["billed"]
    assert "Of some months no day was read from the bill" in said
    assert "Jobs of sources without a project in the configuration stand in a line without" in said
    assert ["<b>odd</b> thing", "USD", "0.99"] in page.tables["Line items that no pattern knows"]


def test_where_every_job_has_its_project_and_every_month_its_bill_nothing_is_explained(
    engine: Engine,
) -> None:
    fill(engine)
    fill_bills(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET project_id = 'proj_1'"))
    page = Page(made(engine, Period(until=at("2025-03-01 00:00"))))
    assert page.tables["Estimated and billed, USD"][-1] == [
        *("All", "25.00", "1", "24.00", "-1.00", "3.49")
    ]
    assert "Of some months no day was read" not in page.parts["billed"]
    assert "without a project" not in page.parts["billed"]


def test_of_a_time_without_any_bill_only_the_estimate_is_told(engine: Engine) -> None:
    fill(engine)
    fill_bills(engine)
    page = Page(made(engine, Period(since=at("2025-03-01 00:00"))))
    unread = ["6.30", "1", "not read", "not read", "not read"]
    assert page.tables["Estimated and billed, USD"][1:] == [["2025-03", *unread], ["All", *unread]]


def test_a_bill_of_nothing_is_a_bill(engine: Engine) -> None:
    fill(engine)
    fill_bills(engine)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM billed_costs"))
    page = Page(made(engine))
    assert page.tables["Estimated and billed, USD"][-1] == [
        *("All", "31.30", "2", "0.00", "-25.00", "0.00")
    ]


def test_the_figures_are_those_of_spend(engine: Engine, tmp_path: Path) -> None:
    """Of a history with counts of tokens that cannot be, and methods that nobody knows."""
    prices.bring_under_lease(engine, load(None), "test")
    filled(engine, tmp_path, 400)
    found = read(engine, EVER, NOW)
    ways: dict[str, dict[Any, Sum]] = {
        "month": dict(found.spend.months),
        "model": dict(found.spend.models),
        "project": dict(found.spend.projects),
        "method": dict(found.spend.methods),
    }
    for word, sums in ways.items():
        with engine.connect() as connection:
            told = spending(connection, Wanted((word,)))
        assert {key: figures_of(one) for key, one in sums.items()} == {
            key: figures_of(one) for (key,), one in told.rows
        }
        assert figures_of(found.spend.total) == figures_of(told.total)
        assert found.spend.total.tokens < 400 * 10**8
    with engine.connect() as connection:
        by_status = {key: one.trained_tokens for (key,), one in spending(connection, BY).rows}
    for status in ("failed", "cancelled"):
        wrong = [one.tokens for (key, _), one in found.failures.items() if key == status]
        assert sum(wrong) == by_status[status]
    words = Page(made(engine)).parts["unpriced"]
    assert "The job has a method that this version does not know." in words


BY = Wanted(("status",))


def figures_of(one: Sum | Amounts) -> tuple[int, ...]:
    """The figures of a sum, as the report or as `spend` has them."""
    if isinstance(one, Sum):
        money = (one.tokens, one.microusd, one.uncertain)
    else:
        money = (one.trained_tokens, one.cost_microusd, one.uncertain_microusd)
    return (one.jobs, *money, one.unpriced_jobs, one.open_jobs)


def test_only_jobs_that_ended_in_the_time_asked_for_count(engine: Engine) -> None:
    fill(engine)
    period = Period(at("2025-03-01 00:00"), at("2025-03-05 10:30"))
    page = Page(made(engine, period))
    assert page.tables["Spend by month and model"][1:] == [
        ["2025-03", "$6.00", "$6.00", "1", "2,000,000", "0"],
        ["All", "$6.00", "$6.00", "1", "2,000,000", "0"],
    ]
    assert "since 2025-03-01 and before 2025-03-05 10:30 UTC" in page.words
    assert "No job of these days failed or was cancelled." in page.parts["failures"]
    assert [row[0] for row in page.tables["Spend by team"][1:]] == ["<i>legal</i>", "All"]


def test_an_empty_mirror_has_nothing_yet_in_each_part(engine: Engine) -> None:
    page = Page(made(engine))
    assert list(page.parts) == PARTS
    for part, words in page.parts.items():
        assert "Nothing yet." in words, part
    assert page.tables == {}
    assert page.named("svg") == []


# The page


def test_whoever_cannot_see_the_page_hears_it(sqlite_engine: Engine) -> None:
    fill(sqlite_engine)
    fill_bills(sqlite_engine)
    page = Page(made(sqlite_engine))
    assert page.named("html") == [{"lang": "en"}]
    headings = [int(name[1]) for name, _ in page.elements if re.fullmatch("h[1-6]", name)]
    assert headings[0] == 1
    assert headings.count(1) == 1
    assert all(later <= before + 1 for before, later in pairwise(headings))
    pictures = [given for name, given in page.elements if given.get("role") == "img"]
    assert len(pictures) == 11
    assert all(len(given["aria-label"] or "") > 20 for given in pictures)
    assert all(given["aria-hidden"] == "true" for given in page.named("svg"))
    ids = [given["id"] for _, given in page.elements if "id" in given]
    assert len(set(ids)) == len(ids)
    assert [link["href"] for link in page.named("a")] == [f"#{part}" for part in PARTS]
    assert {given.get("scope") for given in page.named("th")} == {"row", "col"}
    assert page.named("details")


def test_nothing_in_the_page_is_loaded_or_run(sqlite_engine: Engine) -> None:
    fill(sqlite_engine)
    page = Page(made(sqlite_engine))
    names = {name for name, _ in page.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "image", "use", "base", "form"}
    for name, given in page.elements:
        assert not [key for key in given if key.startswith("on") or key == "src"], name
        for key in ("href", "xlink:href"):
            assert (given.get(key) or "#").startswith("#"), name
    assert "url(" not in made(sqlite_engine).replace("url(#", "")
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert {"http-equiv": "Content-Security-Policy", "content": policy} in page.named("meta")


HOSTILE = ["</title></style></svg>" + ATTACK, '" onload="alert(1)', "{{7*7}}${7*7}", "\x00\ufffe💥"]


@pytest.mark.parametrize("word", HOSTILE)
def test_what_others_wrote_is_text_wherever_it_stands(sqlite_engine: Engine, word: str) -> None:
    fill(sqlite_engine)
    strange = job(
        *(word, "2025-04-01 10:00", "2025-04-01 11:00"),
        source=word,
        project_id=word,
        status="failed",
        model=LARGE,
        user_provided_suffix=word,
        trained_tokens=9_000_000,
        error_code=word,
        error_message=word,
    )
    stranger = {**strange, "id": f"{word}2", "base_model": word, "method_type": word}
    put_jobs(sqlite_engine, [strange, stranger])
    put(sqlite_engine, "job_metadata", [{"job_id": word, "name": word, "value": word}])
    page = Page(made(sqlite_engine))
    shown = word.replace("\x00", "\\x00")
    for table in ("Most expensive jobs", "What went wrong", "Jobs without a price"):
        assert [cell for row in page.tables[table] for cell in row if shown in cell], table
    assert "script" not in {name for name, _ in page.elements}
    assert not [given for _, given in page.elements if "onload" in given]


def test_amounts_that_cannot_be_stop_nothing(engine: Engine) -> None:
    fill(engine)
    most = 2**63 - 1
    ended = "2025-04-01 11:00"
    odd = [
        job("ftjob-x", "1970-01-01 00:00", ended, trained_tokens=most),
        job("ftjob-y", "2025-04-01 10:00", ended, trained_tokens=most),
        job("ftjob-z", "2025-04-01 10:00", "9999-12-31 23:00", trained_tokens=-5),
    ]
    put_jobs(engine, odd)
    page = Page(made(engine))
    assert page.tables["Spend by model"][-1][1:5] == ["$31.30", "$0.30", "9", "3,100,500"]


# The command


def test_the_page_is_written_and_its_path_printed(sqlite_engine: Engine, call: Call) -> None:
    fill(sqlite_engine)
    code, out, err = call(sqlite_engine)
    path = Path("ftmirror-report.html").resolve()
    assert (code, out, err) == (0, f"{path}\n", "")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>\n<html lang=")
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in Path().glob("*report*")] == [path.name]


def test_a_page_that_others_may_read_stays_so(sqlite_engine: Engine, call: Call) -> None:
    fill(sqlite_engine)
    path = Path("report.html")
    path.write_text("the one before")
    path.chmod(0o644)
    Path("link.html").symlink_to(path)
    assert call(sqlite_engine, "--output", "link.html")[0] == 0
    assert Path("link.html").is_symlink()
    assert path.stat().st_mode & 0o777 == 0o644
    assert "What training cost" in path.read_text(encoding="utf-8")


def test_a_dash_writes_the_page_to_stdout(sqlite_engine: Engine, call: Call) -> None:
    fill(sqlite_engine)
    code, out, _ = call(sqlite_engine, "--output", "-", "--since", "2025-03-01")
    assert code == 0
    assert Page(out).tables["Spend by model"][-1][1] == "$6.30"
    assert not list(Path().glob("*.html"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--output", "no/where.html"], "there is no directory"),
        (["--output", "."], "that is a directory; name a file in it"),
        (["--output", "/dev/null"], "that is no file; write --output - for stdout"),
        (["--since", "2025-02-01", "--until", "2025-02-01"], "--since must be before --until"),
        (["--since", "yesterday"], "yesterday"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    sqlite_engine: Engine, call: Call, arguments: list[str], said: str
) -> None:
    code, out, err = call(sqlite_engine, *arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_without_the_extra_the_error_says_what_to_install(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['vl_convert'] = None; from etl.cli import main; "
        "sys.exit(main(['report', '--database-url', 'sqlite:///none.db']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    said = "error: the report needs vl_convert, which draws its charts: "
    said += "pip install 'ftmirror[report]'\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


# In a browser


def test_the_browser_notices_what_a_page_loads_and_what_fails(tmp_path: Path) -> None:
    path = tmp_path / "bad.html"
    path.write_text("<script>console.error('no')</script><img src='http://127.0.0.1:1/x.png'>")
    seen = visit(path, tmp_path)
    assert "http://127.0.0.1:1/x.png" in seen.requests
    assert seen.console


def test_in_a_browser_nothing_is_asked_for_and_a_script_is_text(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    fill(sqlite_engine)
    path = tmp_path / "report.html"
    path.write_text(made(sqlite_engine), encoding="utf-8")
    seen = visit(path, tmp_path)
    assert seen.requests == []
    assert seen.console == []
    assert "<script" not in seen.dom
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in seen.dom
    assert Page(seen.dom.strip()).tables == Page(path.read_text(encoding="utf-8")).tables


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_page_is_no_wider_than_the_screen(
    sqlite_engine: Engine, tmp_path: Path, width: int
) -> None:
    fill(sqlite_engine)
    fill_bills(sqlite_engine)
    (tmp_path / "report.html").write_text(made(sqlite_engine), encoding="utf-8")
    # A window is never as narrow as a phone; a frame is.
    (tmp_path / "frame.html").write_text(
        f"<iframe src='report.html' style='width:{width}px;height:600px;border:0'></iframe><p></p>"
        "<script>onload = () => { const page = frames[0].document; "
        "page.querySelectorAll('details').forEach(one => { one.open = true }); "
        "const { scrollWidth, clientWidth } = page.documentElement; "
        "document.querySelector('p').textContent = scrollWidth - clientWidth }</script>"
    )
    seen = visit(tmp_path / "frame.html", tmp_path, "--allow-file-access-from-files")
    assert "<p>0</p>" in seen.dom


@pytest.mark.long
def test_ten_thousand_jobs_are_a_page_of_less_than_two_megabytes(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    fill(sqlite_engine)
    models = [MINI, LARGE, "gpt-4.1-2025-04-14", *(f"own-model-{number}" for number in range(80))]
    statuses = ["succeeded", "succeeded", "failed", "cancelled", "running"]
    begins = at("2023-01-01 00:00")
    jobs = []
    for number in range(10_000):
        began = begins + timedelta(hours=2.6 * number)
        made_of = models[number % len(models)]
        one = job(f"ftjob-{number:05}", "2023-01-01 00:00", model=made_of)
        one |= {
            "created_at": began,
            "finished_at": began + timedelta(minutes=7 + number % 300),
            "status": statuses[number % 5],
            "trained_tokens": 1000 * (number % 997),
            "project_id": f"proj_{number % 120}",
            "user_provided_suffix": f"suffix-{number}",
            "error_code": f"code_{number % 90}" if number % 5 == 2 else None,
            "error_message": "It broke. " * 60 if number % 5 == 2 else None,
        }
        jobs.append(one)
    put_jobs(sqlite_engine, jobs)
    tags = [
        {"job_id": one["id"], "name": f"key-{key}", "value": f"{one['id']} {'x' * 200}"}
        for one in jobs
        for key in range(3)
    ]
    put(sqlite_engine, "job_metadata", tags)
    curves = [
        {
            "job_id": one["id"],
            "origin": "result_file",
            "origin_id": "file",
            "step": step,
            "name": "train_loss",
            "value": 2 / (step + 1),
        }
        for one in jobs[-20:]
        for step in range(2000)
    ]
    put(sqlite_engine, "training_metrics", curves)
    path = tmp_path / "report.html"
    path.write_text(made(sqlite_engine), encoding="utf-8")
    assert path.stat().st_size < 2_000_000
    seen = visit(path, tmp_path)
    assert (seen.requests, seen.console) == ([], [])
