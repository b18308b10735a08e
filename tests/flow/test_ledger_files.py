"""A mirror written as files, and made again from them; nothing spoilt is believed."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Engine

from etl.db import copies
from etl.errors import UsageError
from etl.moving import files
from etl.moving.copying import Moved
from etl.moving.taking import take
from etl.moving.values import shapes
from etl.simulator import Simulator
from tests.flow.test_copy import (
    EVERYTHING,
    KINDS,
    Cut,
    Make,
    api,
    carried,
    first,
    fresh,
    keyed,
    made,
    nothing,
    nothing_left_open,
    opened,
    original,
    same,
    small_pages,
)
from tests.mirror import contents, counts, sync

__all__ = ["api", "first", "fresh", "nothing_left_open", "original", "small_pages"]


@pytest.fixture
def export(original: Engine, tmp_path: Path) -> Path:
    files.write(original, tmp_path / "export", progress=nothing)
    return tmp_path / "export"


def taken(engine: Engine, directory: Path) -> Moved:
    moved = take(engine, directory, nothing)
    assert moved.different == []
    return moved


@pytest.mark.parametrize(
    ("kind", "other"),
    [
        ("sqlite", "mariadb"),
        pytest.param("postgresql", "sqlite", marks=pytest.mark.long),
        pytest.param("mariadb", "postgresql", marks=pytest.mark.long),
    ],
)
def test_a_mirror_made_from_files_is_the_same_and_goes_on(
    kind: str, other: str, original: Engine, fresh: Make, api: Simulator, tmp_path: Path
) -> None:
    engine = original
    if kind != "sqlite":
        engine = opened(fresh(kind))
        carried(original, engine)
    manifest = files.write(engine, tmp_path / "export", progress=nothing)
    to = made(fresh(other))
    moved = taken(to, tmp_path / "export")
    assert same(engine, to)
    assert {one["name"]: (one["rows"], one["digest"]) for one in manifest["tables"]} == {
        name: (one.rows, one.digest) for name, one in moved.tables.items()
    }
    # The same mirror has the same digests in files, whichever database it is read from.
    again = files.write(original, tmp_path / "again", progress=nothing)
    assert again["tables"] == manifest["tables"]
    result = sync(to, keyed(api), resources=EVERYTHING, mode="incremental")
    assert not {"created", "updated", "missing"} & set(counts(result))
    with pytest.raises(UsageError, match="runs of its own since"):
        take(to, tmp_path / "export", nothing)


def test_the_files_are_private_and_say_what_they_hold(original: Engine, export: Path) -> None:
    assert sorted(path.name for path in export.iterdir()) == sorted(
        ["manifest.json", *(f"{shape.name}.jsonl.gz" for shape in shapes())]
    )
    assert {oct(path.stat().st_mode & 0o777) for path in export.glob("*.gz")} == {"0o600"}
    assert oct(export.stat().st_mode & 0o777) == "0o700"
    manifest = json.loads((export / "manifest.json").read_text())
    assert (manifest["format"], manifest["format_version"]) == ("ledger", 1)
    assert manifest["schema_revision"] == "0006"
    with gzip.open(export / "billed_costs.jsonl.gz", "rt") as lines:
        (line,) = map(json.loads, lines)
    assert line["row"]["amount"] == "-123456789012345678.12345678901234567891"
    assert line["row"]["amount_nano"] == -(2**62)
    assert line["row"]["start_time"] == "2026-01-31T09:30:00.123456Z"


def edited(path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    with gzip.open(path) as lines:
        found = list(lines)
    with gzip.open(path, "wb") as out:
        out.writelines(change(found))


def cut_short(export: Path) -> None:
    path = export / "job_events.jsonl.gz"
    path.write_bytes(path.read_bytes()[:-200])


def without_lines(export: Path) -> None:
    edited(export / "job_events.jsonl.gz", lambda lines: lines[:-2])


def with_another_word(export: Path) -> None:
    edited(
        export / "jobs.jsonl.gz",
        lambda lines: [
            *lines[:2],
            lines[2].replace(b'"status":"', b'"status":"un'),
            *lines[3:],
        ],
    )


def swapped(export: Path) -> None:
    edited(export / "jobs.jsonl.gz", lambda lines: [lines[1], lines[0], *lines[2:]])


def with_half_a_line(export: Path) -> None:
    edited(export / "jobs.jsonl.gz", lambda lines: [*lines[:3], lines[3][:40] + b"\n", *lines[4:]])


def with_another_column(export: Path) -> None:
    edited(
        export / "jobs.jsonl.gz", lambda lines: [lines[0].replace(b'"seed"', b'"sead"'), *lines[1:]]
    )


def without_a_file(export: Path) -> None:
    (export / "records.jsonl.gz").unlink()


def with_another_count(export: Path) -> None:
    path = export / "manifest.json"
    manifest = json.loads(path.read_text())
    (jobs,) = (one for one in manifest["tables"] if one["name"] == "jobs")
    jobs["rows"] -= 1
    path.write_text(json.dumps(manifest))


def of_another_schema(export: Path) -> None:
    path = export / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["schema_revision"] = "0007"
    manifest["digest"] = files.digest_of(manifest)
    path.write_text(json.dumps(manifest))


def says(name: str, value: object) -> Callable[[Path], None]:
    """A manifest that says something else, and has the digest for it."""

    def spoil(export: Path) -> None:
        path = export / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest[name] = value
        manifest["digest"] = files.digest_of(manifest)
        path.write_text(json.dumps(manifest))

    return spoil


def without_end(export: Path) -> None:
    (export / "manifest.json").write_text("[" * 100_000)


def no_export(export: Path) -> None:
    (export / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut_short, r"job_events\.jsonl\.gz, after line \d+: it is cut or damaged"),
        (without_lines, r"job_events\.jsonl\.gz ends after line \d+; the manifest says \d+ rows"),
        (with_another_word, r"jobs\.jsonl\.gz, line 3: .*; somebody edited it"),
        (swapped, r"jobs\.jsonl\.gz, line 2: it is out of order"),
        (with_half_a_line, r"jobs\.jsonl\.gz, line 4: it is not what was written there"),
        (with_another_column, r"jobs\.jsonl\.gz, line 1: its columns are not those of jobs"),
        (without_a_file, r"records\.jsonl\.gz: No such file"),
        (with_another_count, r"manifest\.json is not what was written there"),
        (of_another_schema, r"schema 0007; this version reads schema 0006"),
        (
            says("tables", 7),
            r"no manifest of a ledger export: Expected `array`, got `int` .*tables",
        ),
        (says("tables", [["jobs"]]), r"Expected `object`, got `array` - at `\$\.tables\[0\]`"),
        (says("tables", [{"name": "jobs", "rows": -1}]), r"Expected `int` >= 0"),
        (says("tables", [{"name": "jobs", "rows": 1, "digest": "x"}]), r"matching regex"),
        (says("tables", []), r"does not name the tables .*jobs"),
        (says("mirror", None), r"Expected `str`, got `null` - at `\$\.mirror`"),
        (says("version", {}), r"Expected `str`, got `object` - at `\$\.version`"),
        (says("format_version", "1"), r"Expected `int`, got `str` - at `\$\.format_version`"),
        (without_end, r"manifest\.json is no JSON: "),
        (no_export, r"holds no manifest\.json, so it is no ledger export"),
    ],
)
def test_files_that_are_not_as_they_were_written_are_named_before_anything_is_believed(
    spoil: Callable[[Path], None], said: str, export: Path, sqlite_engine: Engine
) -> None:
    spoil(export)
    before = contents(sqlite_engine)
    with pytest.raises(UsageError, match=said):
        take(sqlite_engine, export, nothing)
    assert contents(sqlite_engine) == before


def test_a_cut_import_goes_on_and_one_of_newer_files_brings_what_is_new(
    original: Engine, export: Path, sqlite_engine: Engine, api: Simulator, tmp_path: Path
) -> None:
    left = 30

    def step(table: str, *_: object) -> None:
        nonlocal left
        left -= not table.startswith("checking")
        if not left:
            raise Cut

    with pytest.raises(Cut):
        take(sqlite_engine, export, step)
    assert copies.unfinished(sqlite_engine) == len(shapes())
    assert taken(sqlite_engine, export).went_on
    assert same(original, sqlite_engine)
    sync(original, keyed(api), resources=("jobs",), mode="full")
    files.write(original, tmp_path / "newer", progress=nothing)
    assert not same(original, sqlite_engine)
    assert taken(sqlite_engine, tmp_path / "newer").went_on
    assert same(original, sqlite_engine)
    with pytest.raises(UsageError, match="runs of its own since"):
        take(sqlite_engine, export, nothing)  # the older files know less than the mirror


def test_a_cut_export_leaves_nothing_and_none_is_written_over(
    original: Engine, export: Path, tmp_path: Path
) -> None:
    def step(table: str, *_: object) -> None:
        if table == "records":
            raise Cut

    before = sorted(tmp_path.iterdir())
    with pytest.raises(Cut):
        files.write(original, tmp_path / "other", progress=step)
    assert sorted(tmp_path.iterdir()) == before
    with pytest.raises(UsageError, match=r"holds a ledger export of .*, which nothing replaces"):
        files.write(original, export, progress=nothing)
    (tmp_path / "empty").mkdir()
    files.write(original, tmp_path / "empty", progress=nothing)
    assert (tmp_path / "empty" / "manifest.json").exists()


@pytest.mark.parametrize(
    "kind", ["sqlite", *(pytest.param(one, marks=pytest.mark.long) for one in KINDS[1:])]
)
def test_an_export_is_of_one_moment_whoever_writes_meanwhile(
    kind: str, original: Engine, fresh: Make, api: Simulator, tmp_path: Path
) -> None:
    engine = opened(fresh(kind))
    carried(original, engine)
    before = {name: len(found) for name, found in contents(engine).items()}
    is_first = True

    def step(*_: object) -> None:
        nonlocal is_first
        if is_first:
            is_first = False
            sync(engine, keyed(api), resources=("jobs",), mode="full")

    manifest = files.write(engine, tmp_path / "export", progress=step)
    assert {one["name"]: one["rows"] for one in manifest["tables"]} == {
        one["name"]: before[one["name"]] for one in manifest["tables"]
    }
    assert len(contents(engine)["sync_runs"]) == before["sync_runs"] + 1
    engine.dispose()


def test_the_folder_may_be_carried_anywhere(
    export: Path, original: Engine, sqlite_engine: Engine, tmp_path: Path
) -> None:
    shutil.copytree(export, tmp_path / "elsewhere" / "my mirror")
    taken(sqlite_engine, tmp_path / "elsewhere" / "my mirror")
    assert same(original, sqlite_engine)
