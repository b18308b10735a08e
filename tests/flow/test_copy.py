"""A mirror carried into another database: equal there, whatever happened on the way."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, event, insert, select, text, update

from etl import verify
from etl.db import copies, lease, migrate, views
from etl.db.engine import open_engine
from etl.db.tables import drift, leases, metadata, quarantine, replays, sent_alerts, sync_runs
from etl.errors import LeaseLost, SchemaOutOfDate, StoreError, UsageError
from etl.moving import reading, values
from etl.moving.copying import Moved, as_it_stands, copy
from etl.replay import replay
from etl.resources import discover
from etl.settings import Secret
from etl.simulator import Simulator, World
from etl.spend.prices import load
from tests import servers
from tests.conftest import make_schema
from tests.dear import servers_when_long
from tests.mirror import advance, contents, counts, import_objects, rows, source_of, sync, typed

KINDS = ("sqlite", "postgresql", "mariadb")
EVERYTHING = tuple(name for name in discover() if name != "costs")
AT = datetime(2026, 1, 31, 9, 30, 0, 123456, tzinfo=UTC)
#: What stands in a way: of a statement, of COPY, of JSON, of a terminal.
AWKWARD = 'it\'s \\N \\. \t\r\n "%s" {é} 😀 \u202e \u2028 NULL --'
_numbers = itertools.count()

Make = Callable[[str], str]


@pytest.fixture
def fresh(tmp_path: Path, database_servers: dict[str, str]) -> Make:
    """Makes an empty database of a kind; its URL."""

    def make(kind: str) -> str:
        name = f"copy_{os.getpid()}_{next(_numbers)}"
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / name}.db"
        return servers.create_database(database_servers[kind], name)

    return make


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a small mirror takes many transactions."""
    monkeypatch.setattr(reading, "MOST_ROWS", 50)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a mirror, of which each test takes a copy."""
    folder = tmp_path_factory.mktemp("first")
    with Simulator(World(5, 12)) as simulator:
        mirrored(f"sqlite:///{folder / 'mirror.db'}", simulator, folder).dispose()
    return folder / "mirror.db"


@pytest.fixture
def api() -> Iterator[Simulator]:
    """The API that the mirror is of: the same seed, and the same that came after."""
    with Simulator(World(5, 12)) as simulator:
        advance(simulator, changed=6, new=3)
        yield simulator


@pytest.fixture
def original(first: Path, tmp_path: Path) -> Engine:
    """A mirror with something in every table."""
    shutil.copy(first, tmp_path / "original.db")
    return opened(f"sqlite:///{tmp_path / 'original.db'}")


_opened: list[Engine] = []


def opened(url: str) -> Engine:
    """A database that is left when the test ends, however it ends."""
    engine = open_engine(url)
    _opened.append(engine)
    return engine


def made(url: str) -> Engine:
    """A mirror with nothing in it yet."""
    engine = make_schema(url)
    _opened.append(engine)
    return engine


@pytest.fixture(autouse=True)
def nothing_left_open() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().dispose()


def nothing(*_: object) -> None:
    """A progress that nobody looks at."""


def keyed(simulator: Simulator) -> Any:
    return source_of(simulator, admin_key=Secret.from_text("the test", "sk-admin-test"))


def mirrored(url: str, simulator: Simulator, folder: Path) -> Engine:
    """A mirror with something in every table, some of it awkward."""
    engine = make_schema(url)
    first = sync(engine, keyed(simulator), resources=EVERYTHING, book=load(None))
    assert first.status == "success"
    advance(simulator, changed=6, new=3)
    sync(engine, keyed(simulator), resources=EVERYTHING, mode="incremental")
    odd = {
        "object": "fine_tuning.job",
        "id": "ftjob-awkward",
        "created_at": 1700000000,
        "status": "failed",
        "error": {"code": "x", "message": AWKWARD, "param": None},
        "metadata": {"team": AWKWARD, "zero": "\0"},
        "integrations": [{"type": "wandb", "wandb": {"project": AWKWARD, "tags": ["a", ""]}}],
        "nobody": {"knows": 1.0},
    }
    import_objects(engine, [odd, {**odd, "id": 7}], folder)
    with engine.begin() as connection:
        line = {"kind": "failed", "fact": "ftjob-1", "run_id": 1, "sent_at": AT}
        connection.execute(insert(sent_alerts).values(line))
        line = {"resource": "jobs", "version": "1", "run_id": 2, "started_at": AT}
        said = '{"odd": [1.0, 1, 1e2], "asked": ["jobs"]}'
        connection.execute(insert(replays).values(**line, last_id="a", drift=said))
        bill = metadata.tables["billed_costs"]
        key = {"organization_id": "org", "start_time": AT, "project_id": "", "line_item": AWKWARD}
        more = {"currency": "usd", "quantity_unit": "", "end_time": AT, "bucket_id": "b"}
        amount = Decimal("-123456789012345678.12345678901234567891")
        numbers = {"amount": amount, "amount_nano": -(2**62), "quantity": 0.1}
        connection.execute(insert(bill).values(**key, **more, **numbers))
    lacking = {name for name, found in contents(engine).items() if not found}
    assert lacking <= {"copies"}, lacking
    return engine


def shown(engine: Engine) -> dict[str, list[tuple[Any, ...]]]:
    """What analysts see, but for how long ago something was."""
    with engine.connect() as connection:
        return {
            name: sorted(
                (
                    tuple(str(_plain(one)) for one in row)
                    for row in connection.execute(text(f"SELECT * FROM {name}"))
                ),
            )
            for name in views.names()
            if name != "sync_health"
        }


def _plain(value: Any) -> Any:
    if isinstance(value, str) and re.fullmatch(r"-?\d+\.\d{20}", value):  # SQLite's exact decimals
        value = Decimal(value)
    if isinstance(value, Decimal | float | int):
        return f"{float(value):.9g}"
    if isinstance(value, str) and len(value) >= 19 and value[4:5] == "-" and value[10:11] == " ":
        return datetime.fromisoformat(value)
    return value


def same(engine: Engine, to: Engine) -> bool:
    without = {"copies"}
    return contents(engine, without) == contents(to, without)


def carried(engine: Engine, to: Engine) -> Moved:
    moved = copy(engine, to, nothing)
    assert moved.different == []
    return moved


PAIRS = [
    pytest.param(
        *pair,
        marks=() if pair in (("sqlite", "postgresql"), ("mariadb", "sqlite")) else pytest.mark.long,
    )
    for pair in itertools.product(KINDS, KINDS)
]


@pytest.mark.parametrize(("kind", "other"), PAIRS)
def test_a_mirror_is_the_same_in_any_database_and_goes_on_there(
    original: Engine, kind: str, other: str, fresh: Make, api: Simulator, tmp_path: Path
) -> None:
    engine = original
    if kind != "sqlite":
        engine = opened(fresh(kind))
        carried(original, engine)
    to = opened(fresh(other))
    moved = carried(engine, to)
    assert not moved.went_on
    assert same(engine, to)
    seen, there = shown(engine), shown(to)
    for name, found in seen.items():
        assert found == there[name], name
    assert moved.rows == sum(map(len, contents(engine, {"copies"}).values()))
    assert {name: one.rows for name, one in moved.tables.items() if one.rows} == {
        name: len(found) for name, found in contents(engine, {"copies"}).items() if found
    }

    before = len(rows(to, "sync_runs"))
    result = sync(to, keyed(api), resources=EVERYTHING, mode="incremental")
    assert result.run_id == before + 1
    assert not {"created", "updated", "missing"} & set(counts(result))
    assert result.counts["records"] < len(rows(to, "jobs"))  # the frontier was met

    advance(api, changed=2, new=2)
    new = sync(to, keyed(api), resources=("jobs",), mode="incremental")
    assert counts(new)["created"] == 2
    assert max(row["id"] for row in rows(to, "quarantine")) < 10
    with pytest.raises(UsageError, match=r"runs of its own since it was copied \(run 5\)"):
        copy(engine, to, nothing)
    replay(engine, list(discover().values()), nothing)
    first = typed(engine)
    copied = opened(fresh(other))
    carried(engine, copied)
    replay(copied, list(discover().values()), nothing)
    assert typed(copied) == first


class Cut(Exception):
    """The copy was stopped from outside."""


def cut_after(engine: Engine, to: Engine, steps: int, what: type[BaseException] = Cut) -> None:
    left = steps

    def step(*_: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            raise what

    with pytest.raises(what):
        copy(engine, to, step)


@servers_when_long
def test_a_cut_copy_goes_on_with_the_rest_and_writes_nothing_twice(
    original: Engine, fresh: Make, empty_database: str, api: Simulator, tmp_path: Path
) -> None:
    engine = original
    to = opened(empty_database)
    cut_after(engine, to, 7)
    there = {name: len(found) for name, found in contents(to, {"copies"}).items()}
    assert 0 < sum(there.values()) < 7 * 50 + 1
    steps: list[tuple[str, int]] = []
    moved = copy(engine, to, lambda table, done, _: steps.append((table, done)))
    assert (moved.went_on, moved.different) == (True, [])
    first: dict[str, int] = {}
    for table, done in steps:
        if "checking" not in table:
            first.setdefault(table, done)
    # Each table's first step came behind the rows that were there.
    assert all(done > there[table] for table, done in first.items())
    assert same(engine, to)


CUT = """
import os, signal, sys
import etl.cli
from etl.moving import destination, reading

reading.MOST_ROWS = 50
number, left = int(sys.argv[2]), int(sys.argv[3])
real = destination.insert_rows

def insert_rows(*arguments):
    global left
    real(*arguments)
    left -= 1
    if not left:
        os.kill(os.getpid(), number)

destination.insert_rows = insert_rows
sys.exit(etl.cli.main(["copy", "--to-env", "NEW", "--json"]))
"""


@servers_when_long
def test_processes_that_were_killed_leave_what_the_next_goes_on_with(
    original: Engine, fresh: Make, empty_database: str, api: Simulator, tmp_path: Path
) -> None:
    """By SIGKILL and by SIGINT in the middle of a transaction, each time further on."""
    url = original.url.render_as_string()
    engine = original
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parents[2]),
        "FTMIRROR_DATABASE_URL": url,
        "NEW": empty_database,
    }
    done = []
    for number, code in ((signal.SIGKILL, -9), (signal.SIGINT, 130), (signal.SIGTERM, 143)):
        ended = subprocess.run(
            [sys.executable, "-c", CUT, url, str(int(number)), "5"],
            check=False,
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == code, ended.stderr
        to = opened(empty_database)
        done.append(sum(row["copied_rows"] for row in rows(to, "copies")))
        held = rows_of_leases(to)["released_at"]
        assert (held is None) == (number == signal.SIGKILL)
        to.dispose()
    assert 0 < done[0] < done[1] < done[2]
    assert "the same command goes on from there" in ended.stderr
    to = opened(empty_database)
    assert carried(engine, to).went_on
    assert same(engine, to)


def rows_of_leases(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return dict(connection.execute(select(leases)).mappings().one())


@servers_when_long
def test_what_changed_in_the_original_since_the_cut_comes_too(
    original: Engine, fresh: Make, empty_database: str, api: Simulator, tmp_path: Path
) -> None:
    """Rows that came, changed and went, in tables that were done and in the one that was not."""
    engine = original
    to = opened(empty_database)
    steps = 0
    for shape in itertools.takewhile(lambda one: one.name != "training_metrics", values.shapes()):
        steps += -(-len(rows(engine, shape.name)) // 50)
    cut_after(engine, to, steps + 3)
    done = {row["table_name"] for row in rows(to, "copies") if row["copied_rows"]}
    assert {"jobs", "job_events", "drift"} <= done
    advance(api, changed=8, new=5)
    assert counts(sync(engine, keyed(api), resources=EVERYTHING))["created"] > 5
    events = metadata.tables["job_events"]
    with engine.begin() as connection:
        connection.execute(delete(drift))
        ids = connection.scalars(select(events.c.id).order_by(events.c.id)).all()
        connection.execute(delete(events).where(events.c.id.in_([*ids[:3], *ids[-120:]])))
        connection.execute(delete(metadata.tables["prices"]))
    assert carried(engine, to).went_on
    assert same(engine, to)


@servers_when_long
def test_a_copy_is_brought_in_step_again_and_only_what_differs_is_written(
    original: Engine,
    fresh: Make,
    empty_database: str,
    api: Simulator,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    engine = original
    to = opened(empty_database)
    carried(engine, to)
    with engine.begin() as connection:
        connection.execute(
            update(metadata.tables["jobs"])
            .values(seed=5)
            .where(metadata.tables["jobs"].c.id == "ftjob-awkward")
        )
    with lease.hold(engine, "somebody"):
        pass
    written: list[tuple[str, int]] = []
    for name in ("insert_rows", "upsert_rows"):
        real = getattr(sys.modules["etl.moving.destination"], name)

        def noting(connection: Any, table: Any, found: Any, real: Any = real) -> None:
            if found:
                written.append((table.name, len(found)))
            real(connection, table, found)

        monkeypatch.setattr(f"etl.moving.destination.{name}", noting)
    carried(engine, to)
    assert written == [("jobs", 1)]
    assert same(engine, to)


@servers_when_long
def test_a_whole_copy_stays_one_until_a_later_one_that_is_cut_changed_a_row(
    original: Engine, fresh: Make, empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = original
    to = opened(empty_database)
    carried(engine, to)
    end = {row["finished_at"] for row in rows(to, "copies")}
    with lease.hold(engine, "somebody"):
        pass
    cut_after(engine, to, 7)
    assert {row["finished_at"] for row in rows(to, "copies")} == end
    assert copies.unfinished(to) == 0
    assert 0 < len([row for row in rows(to, "copies") if row["last_key"]]) < len(values.shapes())

    jobs = metadata.tables["jobs"]
    with engine.begin() as connection:
        connection.execute(update(jobs).values(seed=5).where(jobs.c.id == "ftjob-awkward"))
    with lease.hold(engine, "somebody"):
        pass
    before = contents(to, {"copies"})
    with monkeypatch.context() as patch:

        def cut(*_: object) -> None:
            raise Cut

        patch.setattr(copies, "take_back", cut)
        with pytest.raises(Cut):
            copy(engine, to, nothing)
    assert contents(to, {"copies"}) == before  # the row and the word are one transaction
    assert copies.unfinished(to) == 0

    def after_jobs(table: str, *_: object) -> None:
        if [row["seed"] for row in rows(to, "jobs") if row["id"] == "ftjob-awkward"] == [5]:
            raise Cut

    with pytest.raises(Cut):
        copy(engine, to, after_jobs)
    assert copies.unfinished(to) == len(values.shapes())
    assert carried(engine, to).went_on
    assert same(engine, to)


@servers_when_long
def test_a_cut_copy_whose_original_is_gone_is_made_a_mirror_as_it_stands(
    original: Engine, fresh: Make, empty_database: str, api: Simulator
) -> None:
    engine = original
    to = opened(empty_database)

    def at_events(table: str, *_: object) -> None:
        if table == "job_events":
            raise Cut

    with pytest.raises(Cut):
        copy(engine, to, at_events)
    with pytest.raises(UsageError, match="`ftmirror copy --as-it-stands` makes a mirror"):
        copies.require_whole(to)
    names = [one.name for one in values.shapes()]
    moved = as_it_stands(to, nothing)
    assert moved.different == names[names.index("job_events") :]
    assert "drift" not in moved.different
    assert moved.as_json()["status"] == "partial"
    assert moved.tables["job_events"].rows == len(rows(to, "job_events")) == 50
    copies.require_whole(to)
    with pytest.raises(UsageError, match="this mirror is no copy that was cut"):
        as_it_stands(to, nothing)
    assert carried(engine, to).went_on  # the original came back
    assert same(engine, to)


@servers_when_long
def test_whoever_wrote_there_meanwhile_is_found_by_table_and_mended_by_the_same_command(
    original: Engine, fresh: Make, empty_database: str, api: Simulator, tmp_path: Path
) -> None:
    engine = original
    to = opened(empty_database)
    is_spoilt = False

    def spoil(table: str, *_: object) -> None:
        nonlocal is_spoilt
        if table.startswith("checking") and not is_spoilt:
            is_spoilt = True
            with to.begin() as connection:
                jobs = metadata.tables["jobs"]
                connection.execute(update(jobs).values(seed=-1).where(jobs.c.id == "ftjob-awkward"))
                connection.execute(delete(metadata.tables["job_methods"]))

    moved = copy(engine, to, spoil)
    assert moved.different == ["job_methods", "jobs"]
    assert copies.unfinished(to) == len(values.shapes())
    assert not same(engine, to)
    assert carried(engine, to).went_on
    assert copies.unfinished(to) == 0
    assert same(engine, to)


@pytest.mark.parametrize("whose", ["original", "destination"])
def test_a_lease_that_was_lost_ends_the_copy_and_nothing_is_believed(
    original: Engine, whose: str, fresh: Make, api: Simulator, tmp_path: Path
) -> None:
    engine = original
    to = opened(fresh("sqlite"))
    one = engine if whose == "original" else to

    def take_over(table: str, *_: object) -> None:
        if table in ("jobs", "checking the copy, jobs"):
            with one.begin() as connection:
                connection.execute(update(leases).values(token=leases.c.token + 1))

    with pytest.raises(LeaseLost):
        copy(engine, to, take_over)
    assert copies.unfinished(to) == len(values.shapes())
    with one.begin() as connection:  # whoever took it is done
        connection.execute(update(leases).values(released_at=AT))
    assert carried(engine, to).went_on
    assert same(engine, to)


def test_a_full_disk_is_told_and_room_there_is_all_that_it_takes(
    original: Engine, fresh: Make, api: Simulator, tmp_path: Path
) -> None:
    engine = original
    url = fresh("sqlite")
    make_schema(url).dispose()
    small = opened(url)

    @event.listens_for(small, "connect")
    def bound(connection: sqlite3.Connection, _: Any) -> None:
        connection.execute("PRAGMA max_page_count=60")

    with pytest.raises(StoreError, match=r"disk is full; make room there.*sqlite:///.*copy_"):
        copy(engine, small, nothing)
    small.dispose()
    to = opened(url)
    assert carried(engine, to).went_on
    assert same(engine, to)


def test_a_mirror_of_its_own_is_not_copied_over(
    original: Engine, fresh: Make, api: Simulator, tmp_path: Path
) -> None:
    engine = original
    other = made(fresh("sqlite"))
    sync(other, source_of(api))
    before = contents(other)
    with pytest.raises(UsageError, match=r"holds a mirror already\. Name an empty database"):
        copy(engine, other, nothing)
    third = opened(fresh("sqlite"))
    cut_after(other, third, 3)
    with pytest.raises(UsageError, match="was copied from another mirror than this"):
        copy(engine, third, nothing)
    assert contents(other) == before
    assert rows_of_leases(engine)["released_at"] is not None


def test_an_older_schema_is_to_be_upgraded_first_and_left_as_it_is(
    original: Engine, fresh: Make, api: Simulator, tmp_path: Path
) -> None:
    engine = original
    old = opened(fresh("sqlite"))
    migrate.upgrade(old)
    migrate.downgrade(old, "0005")
    with pytest.raises(SchemaOutOfDate, match=r"is at schema 0005.*Run `ftmirror db upgrade`"):
        copy(old, engine, nothing)
    with old.begin() as connection:
        line = dict(rows(engine, "sync_runs")[0])
        connection.execute(insert(sync_runs).values(line))
    with pytest.raises(UsageError, match="holds a mirror already"):
        copy(engine, old, nothing)
    assert migrate.current(old) == "0005"
    assert len(rows(old, "sync_runs")) == 1


def test_the_same_database_is_refused_however_it_is_spelt(
    empty_database: str, api: Simulator, tmp_path: Path
) -> None:
    engine = made(empty_database)
    sync(engine, source_of(api))
    url = empty_database.replace("127.0.0.1", "localhost")
    if engine.dialect.name == "sqlite":
        (tmp_path / "link.db").symlink_to(tmp_path / "mirror.db")
        url = f"sqlite:///{tmp_path}/link.db"
    again = opened(url)
    before = contents(engine)
    with pytest.raises(UsageError, match="is the database that is to be copied"):
        copy(engine, again, nothing)
    assert contents(engine) == before


@servers_when_long
def test_an_empty_mirror_is_copied_and_may_be_again_once_it_holds_something(
    fresh: Make, empty_database: str, api: Simulator
) -> None:
    engine = made(fresh("sqlite"))
    to = opened(empty_database)
    assert carried(engine, to).rows == 0
    assert migrate.current(to) == migrate.head()
    sync(engine, source_of(api))
    assert not carried(engine, to).went_on
    assert same(engine, to)
    to.dispose()


def test_a_row_that_a_database_does_not_take_is_named(fresh: Make, api: Simulator) -> None:
    """SQLite takes a text that is too long for its column; nobody else does."""
    engine = made(fresh("sqlite"))
    sync(engine, source_of(api))
    jobs = metadata.tables["jobs"]
    ids = [row["id"] for row in rows(engine, "jobs")]
    with engine.begin() as connection:
        connection.execute(update(jobs).values(status="x" * 300).where(jobs.c.id == ids[7]))
    to = opened(fresh("mariadb"))
    with pytest.raises(StoreError, match=rf"^jobs \({ids[7]}\): the database refuses it: .*status"):
        copy(engine, to, nothing)
    to.dispose()


def test_a_payload_beyond_what_mariadb_takes_is_named_with_the_setting(
    fresh: Make, api: Simulator, tmp_path: Path
) -> None:
    engine = made(fresh("sqlite"))
    import_objects(engine, [{"id": "ftjob-1"}], tmp_path)
    with engine.begin() as connection:
        connection.execute(update(quarantine).values(payload="é" * 9_000_000))
    to = opened(fresh("mariadb"))
    with pytest.raises(StoreError, match=r"^quarantine \(1\): 18,000,\d+ bytes are more than"):
        copy(engine, to, nothing)
    to.dispose()


def test_a_page_holds_no_more_than_fits_into_memory(
    empty_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the rows hold; and one row at least comes."""
    engine = made(empty_database)
    line = {"resource": "jobs", "kind": "x", "first_seen_at": AT, "last_seen_at": AT}
    with engine.begin() as connection:
        for number, size in enumerate((400, 500, 2_000, 10, 10, 980, 10)):
            more = {"path": f"p{number}", "example": "é" * (size // 2), "occurrences": 1}
            connection.execute(insert(drift).values({**line, **more}))
    monkeypatch.setattr(reading, "MOST_BYTES", 1_000)
    if engine.dialect.name == "sqlite":  # which counts characters
        monkeypatch.setattr(reading, "MOST_BYTES", 500)
    pages = list(reading.Mirror(engine).pages(values.shape("drift"), None))
    assert [[row[1] for row in page] for page in pages] == [
        ["p0", "p1"],
        ["p2"],
        ["p3", "p4", "p5"],
        ["p6"],
    ]
    engine.dispose()


def test_verify_finds_the_copy_equal_to_what_the_api_lists(
    fresh: Make, api: Simulator, tmp_path: Path
) -> None:
    engine = made(fresh("sqlite"))
    sync(engine, source_of(api), resources=EVERYTHING)
    to = opened(fresh("postgresql"))
    carried(engine, to)
    proof = verify.verify(to, [source_of(api)], nothing, children=5)
    assert proof.verdict == "equal", proof.as_json()
    to.dispose()
