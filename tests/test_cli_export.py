"""`ftmirror export` as a person, a full disk and a kill meet it."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

import etl.cli
from tests import exporting
from tests.calling import Call, caller
from tests.conftest import make_schema
from tests.reporting import fill

#: Tables whose many rows take a while.
MANY = ("--table", "jobs", "--table", "job_costs", "--table", "job_metadata")
#: What another export must not lose.
KEPT = ("jobs", "job_usage", "job_metadata")
#: Room for the files on a machine where the test may not mount: bytes of the longest.
_LONGEST_FILE = 4_000


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Six jobs, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    engine = make_schema("sqlite:///ftmirror.db")
    fill(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def call(mirror: Engine, capsys: pytest.CaptureFixture[str]) -> Call:
    """Call `ftmirror export` in that folder."""
    call = caller(capsys)
    return lambda *words: call("export", *words)


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def names(folder: str) -> list[str]:
    return sorted(path.name for path in Path(folder).iterdir())


# What it says


def test_it_prints_what_was_written_within_80_columns(call: Call) -> None:
    done = call("--format", "csv", "--table", "jobs", "--table", "spend_by_metadata", "out")
    assert (done.code, done.err) == (0, "")
    assert [line.split()[:3] for line in done.out.splitlines()] == [
        ["table", "rows", "files"],
        ["jobs", "6", "1"],
        ["spend_by_metadata", "3", "1"],
        [],
        ["out:", "csv,", "with"],
    ]
    assert max(map(len, call("--format", "csv", "all").out.splitlines())) <= 80


def test_json_is_the_manifest(call: Call) -> None:
    done = call("--format", "jsonl", "--table", "jobs:id", "--json", "out")
    assert json.loads(done.out) == json.loads(Path("out/manifest.json").read_text())
    (jobs,) = json.loads(done.out)["tables"]
    assert jobs["columns"] == [{"name": "id", "type": "text"}]


def test_jobs_without_a_row_of_focus_are_told_of(call: Call) -> None:
    done = call("--format", "focus", "out")
    assert done.code == 0
    said = (
        "warning: 3 jobs have no row, as there is no cost to state: 1 without a price for the "
        "model, 1 without a word of what was used, 1 still open; the view unpriced_jobs names "
        "those whose cost is unknown\n"
    )
    assert done.err == said


def test_an_empty_mirror_says_nothing_yet(tmp_path: Path, call: Call, mirror: Engine) -> None:
    make_schema("sqlite:///empty.db").dispose()
    done = call("--format", "csv", "--database-url", "sqlite:///empty.db", "out")
    assert done.code == 0
    assert "there is nothing to export yet; `ftmirror sync` brings it" in done.err
    assert Path("out/jobs.csv").read_text().startswith("id,source,provider,")


def test_an_empty_ledger_says_nothing_yet(call: Call) -> None:
    """Beside the prices there are patterns, which come with this program as well."""
    make_schema("sqlite:///empty.db").dispose()
    done = call("--format", "ledger", "--database-url", "sqlite:///empty.db", "out")
    assert "there is nothing to export yet" in done.err
    assert call("--format", "ledger", "full").err == ""


def test_only_its_owner_may_read_it_unless_others_could(call: Call) -> None:
    call("--format", "csv", "--table", "jobs", "out")
    assert Path("out").stat().st_mode & 0o777 == 0o700
    Path("out").chmod(0o755)
    call("--format", "csv", "--table", "jobs", "out")
    assert Path("out").stat().st_mode & 0o777 == 0o755


# What cannot be


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--table", "job_cost"], "there is no table or view 'job_cost'; did you mean job_costs?"),
        (["--table", "xyz"], "there is no table or view 'xyz'; there are: best_checkpoints, "),
        (["--table", "jobs:modl"], "jobs has no column 'modl'; did you mean model?"),
        (["--table", "jobs:"], "jobs has no column ''; there are: base_model, "),
        (["--table", "jobs:id,id"], "the column id of jobs is asked for twice"),
        (["--table", "jobs", "--table", "jobs:id"], "jobs is asked for twice"),
        (["--table", "records"], "records is part of the ledger, which --format ledger exports"),
        (["--since", "2025-02-30"], "there is no such day"),
        (
            ["--since", "yesterday"],
            "'yesterday': a date is written YYYY-MM-DD, as 2026-01-31; a duration is a number and",
        ),
    ],
)
def test_what_is_not_there_is_answered_with_what_is(
    call: Call, words: list[str], said: str
) -> None:
    done = call("--format", "csv", *words, "out")
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert not Path("out").exists()
    assert hidden(Path()) == []


def test_an_older_schema_is_sent_to_db_upgrade(call: Call, mirror: Engine) -> None:
    with mirror.begin() as connection:
        connection.execute(text("UPDATE ftmirror_version SET version_num = '0004'"))
    done = call("--format", "csv", "out")
    assert done.code == 2
    assert "ftmirror db upgrade" in done.err


def test_a_format_without_its_package_says_how_to_get_it(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "deltalake", None)
    done = call("--format", "delta", "out")
    assert (done.code, done.err) == (
        2,
        "error: this format needs deltalake: pip install 'ftmirror[lake]'\n",
    )
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "pyarrow.parquet", raising=False)
    assert "pip install 'ftmirror[lake]'" in call("--format", "parquet", "out").err


# Where it goes


def test_a_former_export_is_replaced_whole(call: Call, mirror: Engine) -> None:
    call("--format", "csv", "--table", "jobs", "out")
    exporting.more(mirror, 0, 1)
    assert call("--format", "csv", "--table", "jobs", "--table", "job_usage", "out").code == 0
    assert names("out") == ["job_usage.csv", "jobs.csv", "manifest.json"]
    assert Path("out/jobs.csv").read_text().count("ftjob-") == 7
    assert hidden(Path()) == []


@pytest.mark.parametrize("form", ["ledger", "csv"])
def test_a_ledger_is_never_replaced(call: Call, form: str) -> None:
    taken_at = json.loads(call("--format", "ledger", "--json", "out").out)["taken_at"]
    before = names("out")
    make_schema("sqlite:///empty.db").dispose()
    done = call("--format", form, "--database-url", "sqlite:///empty.db", "out")
    assert done.code == 2
    assert done.err == (
        f"error: {Path('out').resolve()} holds a ledger export of {taken_at}, which nothing "
        "replaces; name another directory, or remove it first\n"
    )
    assert names("out") == before
    assert hidden(Path()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["csv", "--table", "jobs", "--table", "job_usage", "--table", "job_metadata"],
            "holds an export of the format jsonl, which one of the format csv does not replace;",
        ),
        (
            ["jsonl", "--table", "prices"],
            "tables that this one would not have: job_metadata, job_usage, jobs; name another",
        ),
    ],
)
def test_what_holds_more_or_is_of_another_format_stays(
    call: Call, words: list[str], said: str
) -> None:
    call("--format", "jsonl", *(f"--table={name}" for name in KEPT), "out")
    before = names("out")
    done = call("--format", *words, "out")
    assert (done.code, said in done.err) == (2, True), done.err
    assert names("out") == before


def test_what_was_changed_since_stays(call: Call) -> None:
    call("--format", "csv", "--table", "jobs", "out")
    file = Path("out/jobs.csv").resolve()
    text = file.read_text()
    for change in (lambda: file.write_text(text.replace("gpt", "cpt")), file.unlink):
        change()
        done = call("--format", "csv", "out")
        assert (done.code, done.err) == (
            2,
            f"error: {file} was changed since it was exported; name another directory\n",
        )
    assert names("out") == ["manifest.json"]


@pytest.mark.parametrize(
    "manifest",
    [
        '{"made_by": "ftmirror export"}',
        '{"made_by": "ftmirror export", "format": "csv", "taken_at": "", "tables": [{"name": 1}]}',
        '{"made_by": "another", "format": "csv", "taken_at": "", "tables": []}',
        "[" * 100_000,
        "\udcff",
    ],
)
def test_a_damaged_manifest_is_of_no_former_export(call: Call, manifest: str) -> None:
    Path("out").mkdir()
    Path("out/manifest.json").write_text(manifest, errors="surrogateescape")
    done = call("--format", "csv", "out")
    assert done.code == 2
    assert done.err == (
        f"error: {Path('out').resolve()} is not empty, and no former export; name another "
        "directory, or empty this one\n"
    )


def test_nothing_else_is_ever_replaced(call: Call) -> None:
    Path("mine").mkdir()
    Path("mine/notes.txt").write_text("dear")
    done = call("--format", "csv", "mine")
    assert done.code == 2
    assert "mine is not empty, and no former export; name another directory, or" in done.err
    call("--format", "csv", "--table", "jobs", "out")
    Path("out/notes.txt").write_text("dear")
    done = call("--format", "csv", "out")
    assert done.code == 2
    assert "out/notes.txt is not of the former export in" in done.err
    assert Path("out/notes.txt").read_text() == Path("mine/notes.txt").read_text() == "dear"
    done = call("--format", "csv", "ftmirror.db")
    assert (done.code, "is no directory; name another" in done.err) == (2, True)
    done = call("--format", "csv", "not/there")
    assert (done.code, "there is no directory" in done.err) == (2, True)
    done = call("--format", "csv", ".")
    assert (done.code, "is the current directory" in done.err) == (2, True)


def test_an_empty_directory_is_filled(call: Call) -> None:
    Path("out").mkdir()
    assert call("--format", "csv", "--table", "jobs", "out").code == 0
    assert Path("out/jobs.csv").exists()


# When it fails


def started(*words: str, limit: int | None = None) -> subprocess.Popen[str]:
    """The command in a process of its own, with files no longer than that."""

    def limited() -> None:
        if limit is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.Popen(
        [sys.executable, "-m", "etl.cli", "export", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limited,  # noqa: PLW1509 - the test has no threads
        env={**os.environ, "PYTHONPATH": str(Path(etl.cli.__file__).parents[2])},
    )


def test_a_disk_without_room_leaves_nothing(mirror: Engine) -> None:
    exporting.more(mirror, 0, 500)
    for form in ("csv", "jsonl", "parquet", "delta", "focus"):
        words = () if form == "focus" else MANY
        process = started("--format", form, *words, f"out-{form}", limit=_LONGEST_FILE)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (1, ""), err
        assert re.fullmatch(
            rf"error: the export to out-{form} could not be written: File too large; nothing of "
            "it is left there. Make room or give the right to write there, or name another "
            "directory\n",
            err,
        ), err
        assert not Path(f"out-{form}").exists()
        assert hidden(Path()) == []


def test_a_former_export_stays_when_the_next_fails(mirror: Engine, call: Call) -> None:
    call("--format", "csv", "--table", "jobs", "out")
    before = Path("out/jobs.csv").read_bytes()
    exporting.more(mirror, 0, 500)
    process = started("--format", "csv", "out", limit=_LONGEST_FILE)
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert Path("out/jobs.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (signal.SIGINT, 130),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long),
        (signal.SIGKILL, -9),
    ],
)
def test_who_is_stopped_leaves_no_half_export(
    mirror: Engine, call: Call, number: signal.Signals, code: int
) -> None:
    exporting.more(mirror, 0, 10_000)
    process = started("--format", "csv", *MANY, "out")
    deadline = time.monotonic() + 60
    # Once it writes: its hidden directory holds a file.
    while not any(Path().glob(".out.ftmirror-part/new/*.csv")):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == code
    assert not Path("out").exists()
    if number == signal.SIGKILL:
        assert len(hidden(Path())) == 1
        assert call("--format", "csv", "--table", "jobs", "out").code == 0
    assert hidden(Path()) == []


def test_two_cannot_write_to_one_directory(mirror: Engine, call: Call) -> None:
    exporting.more(mirror, 0, 10_000)
    process = started("--format", "csv", *MANY, "out")
    while not any(Path().glob(".out.ftmirror-part/new/*.csv")):
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    process.send_signal(signal.SIGSTOP)
    try:
        done = call("--format", "csv", "--table", "jobs", "out")
    finally:
        process.send_signal(signal.SIGCONT)
    assert done.code == 1
    assert done.err == (
        f"error: another export is writing to {Path('out').resolve()}; wait for it, or name "
        "another directory\n"
    )
    process.communicate(timeout=120)
    assert process.returncode == 0
    assert names("out") == ["job_costs.csv", "job_metadata.csv", "jobs.csv", "manifest.json"]
    assert hidden(Path()) == []


def test_what_was_put_aside_by_a_dead_export_comes_back(call: Call) -> None:
    """Killed between the two renames: the former export has no name any more, and no successor."""
    call("--format", "csv", "--table", "jobs", "out")
    Path(".out.ftmirror-part").mkdir()
    Path("out").rename(".out.ftmirror-part/old")
    done = call("--format", "csv", "--table", "no_such", "out")
    assert done.code == 2
    assert Path("out/jobs.csv").exists()
    assert hidden(Path()) == []


def test_the_former_export_comes_back_when_the_new_one_cannot_take_its_place(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("--format", "csv", "--table", "jobs", "out")
    before = Path("out/manifest.json").stat().st_ino
    rename = Path.rename

    def refused(path: Path, target: Path) -> Path:
        if path.name == "new":
            raise OSError(5, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    done = call("--format", "csv", "--table", "jobs", "out")
    assert (done.code, "could not be written: Input/output error" in done.err) == (1, True)
    assert Path("out/manifest.json").stat().st_ino == before
    assert hidden(Path()) == []


def test_every_directory_is_on_the_disk_before_it_takes_its_place(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    assert call("--format", "parquet", "--table", "jobs", "out").code == 0
    new = Path(".out.ftmirror-part/new").resolve()
    months = [path.name for path in Path("out/jobs").iterdir()]
    assert months
    assert {str(new), f"{new}/jobs", *(f"{new}/jobs/{month}" for month in months)} <= set(synced)


def test_a_reader_that_went_away_is_told_as_other_tools_tell_it(mirror: Engine) -> None:
    for words in (("--format", "csv", "--table", "jobs", "out"), ("--help",)):
        process = started(*words)
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        assert process.communicate(timeout=60)[1] == ""
        assert process.returncode == 141
    assert Path("out/jobs.csv").exists()
