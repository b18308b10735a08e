"""What is shown of long work: rate, share and the time left."""

from __future__ import annotations

import datetime as dt
import gzip
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from etl.cli import progress
from etl.cli.options import Context
from etl.cli.progress import Pace, duration, sentence
from etl.db.runs import Tally
from etl.saved import Extent, texts

NOW = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def tally(read: int, total: int | None = None, done: int | None = None) -> Tally:
    return Tally("default", "events", NOW, read=read, total=total, done=done)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (720, "12 min"), (12_000, "3 h 20 min")],
)
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_where_nobody_knows_how_many_there_are_the_rate_is_said() -> None:
    assert sentence(tally(17_000), Pace(100.0), 120.0) == "17,000 records so far, 850/s"


def test_too_early_there_is_no_rate() -> None:
    assert sentence(tally(500), Pace(100.0), 100.1) == "500 records so far"


def test_of_parents_the_share_and_the_time_left() -> None:
    """120 of 300 in 20 seconds: 30 more."""
    said = sentence(tally(17_000, total=300, done=120), Pace(100.0), 120.0)
    assert said == "17,000 records so far, 850/s, 40%, 30 s left"


def test_what_was_done_before_does_not_make_it_faster() -> None:
    """A copy that was cut goes on at 900 of 1,000: 50 in ten seconds, 50 more are left."""
    pace = Pace.of(tally(900, total=1_000), 100.0)
    assert sentence(tally(950, total=1_000), pace, 110.0) == (
        "950 records so far, 5/s, 95%, 10 s left"
    )


def test_more_than_was_thought_of_has_no_share() -> None:
    assert sentence(tally(11, total=10), Pace(0.0), 10.0) == "11 records so far, 1/s"


@contextmanager
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    at = [0.0]
    monkeypatch.setattr("etl.cli.progress.time.monotonic", lambda: at[0])
    yield at


def test_a_copy_is_told_in_log_lines_of_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    with clock(monkeypatch) as at, progress.counted(Context(progress="log"), "copy") as step:
        for second in range(0, 25, 5):
            at[0] = float(second)
            step("records", second * 10, 1_000)
    assert [one.getMessage() for one in caplog.records] == [
        "copy, records: 100 records so far, 10/s, 10%, 2 min left",
        "copy, records: 200 records so far, 10/s, 20%, 80 s left",
    ]


@pytest.mark.parametrize("kind", ["none", "log"])
def test_none_and_short_work_say_nothing(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    with progress.counted(Context(progress=kind), "copy") as step:
        step("records", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_quiet_wins_over_a_bar_that_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.counted(Context(progress="bar", verbosity=-1), "copy") as step:
        step("records", 1, 2)
    assert capsys.readouterr() == ("", "")


def test_bytes_of_files_are_counted_as_they_lie_on_the_disk(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.jsonl", tmp_path / "b.jsonl.gz"
    plain.write_bytes(b'{"id": "ftjob-1"}\n' * 3)
    packed.write_bytes(gzip.compress(b'{"id": "ftjob-2"}\n' * 2))
    extent = Extent([str(plain), str(packed)])
    assert (extent.done, extent.total) == (0, 54 + packed.stat().st_size)
    assert len(list(texts(str(plain), None, extent))) == 3
    assert extent.done == 54
    assert len(list(texts(str(packed), None, extent))) == 2
    assert extent.done == extent.total


def test_nobody_knows_the_end_of_a_pipe(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"{}\n")
    assert Extent([str(tmp_path / "a.jsonl"), "-"]).total is None
