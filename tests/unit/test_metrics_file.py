"""The metrics file: what it says, and that it never says less than before."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

import etl
from etl.db.runs import Tally
from etl.errors import UsageError
from etl.metrics_file import MIRROR, RUN, Outcome, require_writable, write
from etl.reports import Standing, Status

ROOT = Path(__file__).parents[2]
ENDED = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
SYNCED = datetime(2026, 1, 31, 9, 29, tzinfo=UTC)


def tally(source: str = "research", **counts: int) -> Tally:
    found = Tally(source, "jobs", SYNCED, status="success")
    found.add(counts)
    return found


def outcome(status: str = "success", exit_code: int = 0, **changes: Any) -> Outcome:
    given: dict[str, Any] = {"ended_at": ENDED, "seconds": 2.5}
    return Outcome(status, exit_code, **{**given, **changes})


def standing(source: str = "research", name: str = "jobs", **changes: Any) -> Standing:
    given: dict[str, Any] = {
        "configured": True,
        "records": 120,
        "missing": 2,
        "synced_at": SYNCED,
        "age_seconds": 60.0,
        "quarantined": 1,
        "last_run_id": 7,
        "last_run_at": SYNCED,
        "last_status": "success",
        "last_error": None,
    }
    return Standing(source, name, **{**given, **changes})


def status(*standings: Standing) -> Status:
    return Status(list(standings), {}, 3)


def samples(path: Path) -> dict[str, float]:
    """Each line that is no comment, without the label that all have."""
    found = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name = re.sub(rf'mirror="{path.stem}",?', "", name).replace("{}", "")
            found[name] = float(value)
    return found


SAID_OF_RESEARCH = {
    'ftmirror_last_success_timestamp_seconds{resource="jobs",source="research"}': 1769851740.0,
    'ftmirror_records{resource="jobs",source="research"}': 120.0,
    'ftmirror_missing_records{resource="jobs",source="research"}': 2.0,
    'ftmirror_quarantine_open{resource="jobs",source="research"}': 1.0,
    "ftmirror_drift_kinds": 3.0,
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ftmirror.prom"


# What it says


def test_a_good_run_is_told_whole(path: Path) -> None:
    did = tally(created=20, unchanged=100, requests=3, retries=1)
    write(path, outcome(tallies=[did]), status(standing()))
    records = 'ftmirror_last_run_records{outcome="%s",resource="jobs",source="research"}'
    assert samples(path) == {
        f'ftmirror_build_info{{version="{etl.__version__}"}}': 1,
        "ftmirror_last_run_timestamp_seconds": 1769851800,
        "ftmirror_last_run_duration_seconds": 2.5,
        "ftmirror_last_run_exit_code": 0,
        'ftmirror_last_run_status{status="success"}': 1,
        'ftmirror_last_run_status{status="partial"}': 0,
        'ftmirror_last_run_status{status="failed"}': 0,
        'ftmirror_last_run_status{status="locked"}': 0,
        records % "created": 20,
        records % "updated": 0,
        records % "unchanged": 100,
        records % "older": 0,
        records % "missing": 0,
        records % "quarantined": 0,
        'ftmirror_last_run_requests{resource="jobs",source="research"}': 3,
        'ftmirror_last_run_retries{resource="jobs",source="research"}': 1,
        "ftmirror_lease_held_by_other": 0,
        "ftmirror_database_up": 1,
        **SAID_OF_RESEARCH,
    }


def test_a_refused_run_is_told_with_how_the_mirror_stands(path: Path) -> None:
    write(path, outcome("locked", 4, is_locked_out=True), status(standing()))
    said = samples(path)
    assert said['ftmirror_last_run_status{status="locked"}'] == 1
    assert said['ftmirror_last_run_status{status="failed"}'] == 0
    assert (said["ftmirror_last_run_exit_code"], said["ftmirror_lease_held_by_other"]) == (4, 1)
    assert SAID_OF_RESEARCH.items() <= said.items()
    assert not [name for name in said if name.startswith("ftmirror_last_run_records")]


def test_what_never_worked_is_0_and_what_nobody_reads_any_more_is_not_there(path: Path) -> None:
    never = standing(synced_at=None)
    gone = standing("old", configured=False)
    write(path, outcome(), status(never, gone))
    said = samples(path)
    success = {name: said[name] for name in said if "last_success" in name}
    assert success == {
        'ftmirror_last_success_timestamp_seconds{resource="jobs",source="research"}': 0
    }
    assert said['ftmirror_records{resource="jobs",source="old"}'] == 120


def test_names_may_hold_any_character(path: Path) -> None:
    name = 'a "b" \\c\nd é'
    write(path, outcome(tallies=[tally(name)]), status(standing(name)))
    text = path.read_text(encoding="utf-8")
    assert 'resource="jobs",source="a \\"b\\" \\\\c\\nd é"} 120.0\n' in text
    found = {
        sample.labels["source"]
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if "source" in sample.labels
    }
    assert found == {name}
    write(path, outcome("failed", 1), None)
    assert 'resource="jobs",source="a \\"b\\" \\\\c\\nd é"} 120.0\n' in path.read_text("utf-8")


def test_two_files_never_tell_the_same_series(tmp_path: Path) -> None:
    told = []
    for name in ("prod.prom", "test.prom"):
        write(tmp_path / name, outcome(), status(standing()))
        lines = (tmp_path / name).read_text(encoding="utf-8").splitlines()
        told.append({line.rpartition(" ")[0] for line in lines if not line.startswith("#")})
    assert told[0]
    assert told[0].isdisjoint(told[1])


def test_metrics_are_gauges_named_as_prometheus_asks(path: Path) -> None:
    write(path, outcome(tallies=[tally()]), status(standing()))
    families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    assert [family.name for family in families] == [*RUN, *MIRROR]
    assert {family.type for family in families} == {"gauge"}
    for family in families:
        labels, meaning = {**RUN, **MIRROR}[family.name]
        assert family.documentation == meaning
        assert re.fullmatch(r"ftmirror_[a-z]+(_[a-z]+)*", family.name)
        assert not family.name.endswith(("_total", "_count", "_sum", "_bucket"))
        for sample in family.samples:
            assert set(sample.labels) == {"mirror", *labels}


# What stays


def test_what_the_mirror_said_last_stays_while_the_database_is_silent(path: Path) -> None:
    write(path, outcome(tallies=[tally(created=1)]), status(standing()))
    for _ in range(3):
        write(path, outcome("failed", 1), None)
    said = samples(path)
    assert SAID_OF_RESEARCH.items() <= said.items()
    assert (said["ftmirror_database_up"], said["ftmirror_last_run_exit_code"]) == (0, 1)
    assert not [name for name in said if name.startswith("ftmirror_last_run_records")]
    later = datetime(2026, 1, 31, 10, 29, tzinfo=UTC)
    write(path, outcome(), status(standing(synced_at=later)))
    assert samples(path)[next(iter(SAID_OF_RESEARCH))] == later.timestamp()


@pytest.mark.parametrize(
    "before",
    [
        None,
        b"",
        b"\x00\xff\xfe",
        b"<html>",
        b'ftmirror_records{source="x" 1',
        b"ftmirror_records 1\n",
        b'ftmirror_records{mirror="x",source="x",resource="jobs"} many\n',
        b"# TYPE ftmirror_records nonsense\nftmirror_records{} 1 2 3 4\n",
    ],
)
def test_a_file_that_cannot_be_read_keeps_no_run_from_telling(
    path: Path, before: bytes | None
) -> None:
    if before is not None:
        path.write_bytes(before)
    write(path, outcome("failed", 1), None)
    said = samples(path)
    assert said["ftmirror_last_run_exit_code"] == 1
    assert not [name for name in said if name.partition("{")[0] in MIRROR]


def test_a_file_cut_anywhere_keeps_no_run_from_telling(path: Path) -> None:
    write(path, outcome(), status(standing(), standing("azure")))
    whole = path.read_bytes()
    for end in range(0, len(whole), 7):
        path.write_bytes(whole[:end])
        write(path, outcome("failed", 1), None)
        assert samples(path)["ftmirror_last_run_exit_code"] == 1


def test_everybody_may_read_it_whatever_the_umask_and_a_mode_that_was_set_stays(path: Path) -> None:
    before = os.umask(0o077)
    try:
        write(path, outcome(), None)
        assert path.stat().st_mode & 0o777 == 0o644
        path.chmod(0o640)
        write(path, outcome(), None)
        assert path.stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(before)


def test_a_reader_never_finds_half_of_it(path: Path) -> None:
    write(path, outcome(), status(standing()))
    size = path.stat().st_size
    found = set()
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            found.add(len(path.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        write(path, outcome(), status(standing()))
    done.set()
    reader.join()
    assert found == {size}
    assert list(path.parent.iterdir()) == [path]


def test_a_disk_that_is_full_leaves_the_file_as_it_was(path: Path) -> None:
    write(path, outcome(), status(standing()))
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            write(path, outcome("failed", 1), None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


# Before the run


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nowhere/x.prom", "there is no directory"),
        (".", "that is no file"),
        ("/dev/null", "that is no file"),
        ("/proc/x.prom", "cannot be written"),
        ("x" * 300 + ".prom", "cannot be written: File name too long"),
    ],
)
def test_a_place_that_cannot_work_is_told_at_once(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        require_writable(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_asking_leaves_nothing_behind(path: Path) -> None:
    require_writable(path)
    assert list(path.parent.iterdir()) == []


def test_only_who_asks_for_metrics_loads_what_makes_them() -> None:
    code = (
        "import sys, etl.cli; etl.cli.main(['sync', '-h']); etl.cli.main(['status', '--json']); "
        "sys.exit('prometheus_client' in sys.modules)"
    )
    call = [sys.executable, "-c", code]
    done = subprocess.run(call, cwd=os.environ["HOME"], capture_output=True, check=False)
    assert done.returncode == 0


# What documents and alerts say


def test_the_page_on_monitoring_has_every_metric_with_its_labels_and_meaning() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| `(ftmirror_\w+)` \| (.*?) ?\| (.*) \|$", page, re.MULTILINE)
    shown = {name: (tuple(re.findall(r"`(\w+)`", labels)), said) for name, labels, said in lines}
    assert shown == {**RUN, **MIRROR}
    for target in re.findall(r"\]\((?!http)([^)#]+)", page):
        assert (ROOT / "docs" / target).exists()


def rules() -> list[dict[str, Any]]:
    found = yaml.safe_load((ROOT / "config" / "prometheus" / "alerts.yml").read_text("utf-8"))
    assert list(found) == ["groups"]
    (group,) = found["groups"]
    assert set(group) == {"name", "rules"}
    return list(group["rules"])


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_and_labels_that_are_there(rule: dict[str, Any]) -> None:
    assert set(rule) - {"for"} == {"alert", "expr", "labels", "annotations"}
    assert set(rule["annotations"]) == {"summary", "description"}
    assert rule["labels"]["severity"] in ("critical", "warning", "info")
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))
    named = set(re.findall(r"[a-z]+(?:_[a-z]+)+", rule["expr"]))
    assert named
    assert named <= {*RUN, *MIRROR}
    (labels,) = {{**RUN, **MIRROR}[name][0] for name in named}
    used = re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))
    used += re.findall(r"(\w+)=\"", rule["expr"])
    # `absent` knows no labels.
    assert set(used) <= (set() if "absent" in rule["expr"] else {"mirror", *labels})


def test_alerts_tell_the_hours_that_they_wait_for() -> None:
    for rule in rules():
        hours = re.findall(r"> (\d+) \* 3600", rule["expr"])
        told = re.findall(r"for (\d+) hours", rule["annotations"]["summary"])
        waited = re.findall(r"(\d+)h", rule.get("for", ""))
        assert told == (hours or (waited if told else []))


def test_the_alert_of_the_page_is_that_of_the_file() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    (body,) = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    (shown,) = yaml.safe_load(body)
    assert shown.items() <= rules()[0].items()
