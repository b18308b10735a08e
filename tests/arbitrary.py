"""Whatever JSON a server or a file may hold, in place of a record, a page or a file's content.

Each kind of case is driven through a whole run against a real server. What came in is in the tables
or in quarantine, its neighbours are untouched, and nothing is raised.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, select

from etl.db.tables import metadata, quarantine, records
from etl.importing import Order as ImportOrder
from etl.importing import import_files
from etl.pipe import RunResult
from etl.resources import discover, jobs
from etl.settings import Secret, Source
from etl.sync import Order, sync
from tests.http_server import Reply, serve
from tests.jobs import OPENAI, job
from tests.parts import Api, checkpoint, checkpoints_path, event, events_path, file

odd_texts = st.sampled_from(
    ["", "auto", "\x00", "\ud800", "x" * 70, "x" * 300, "'; --", "\x1b[2J", "ft:ft:", "1e5", "-1"]
) | st.sampled_from(
    ["2024-01-01", "9" * 19, "\U0001f600", "ft.ft-" + "0" * 32, "\\u0000", "a\tb\n", "NaN"]
)
odd_numbers = st.sampled_from(
    [0, -1, 1, 2**31, 2**63 - 1, 2**63, -(2**63) - 1, 10**18, 10**40, 10**400]
) | st.sampled_from([-0.0, 0.5, 1e300, 5e-324, -1e15, 253402300800.5, float("nan"), float("inf")])
names = st.sampled_from(
    ["id", "type", "hyperparameters", "wandb", "dpo", "job", "tags", "code", "step", "metrics"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | odd_numbers | odd_texts | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(names | odd_texts | st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=8,
)
endings = st.sampled_from(["a", "A", "a ", "\U0001f600", "b"])
statuses = st.sampled_from(["queued", "running", "succeeded", "failed", "paused", "odd"])

#: Of each kind one that has every member.
JOB = job(
    error={"code": "c", "message": "m", "param": "p"},
    metadata={"a": "b", "A": "c"},
    usage_metrics={"a": 1.0},
    integrations=[{"type": "wandb", "wandb": {"project": "p", "tags": ["a", "b"]}}],
    method={
        "type": "reinforcement",
        "reinforcement": {"hyperparameters": {"n_epochs": "auto"}, "grader": {"a": 1}},
    },
)
EVENT = event(type="metrics", data={"step": 3, "total_steps": 9, "train_loss": 0.5, "a": {"b": 1}})
CHECKPOINT = checkpoint(
    job_id="ftjob-b", metrics={"step": 10.0, "train_loss": 0.5, "full_valid_loss": 1}
)
FILE = file("file-train-b", expires_at=1700000000, status_details="none")


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a value with each of its keys."""
    if not isinstance(value, (dict, list)):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


@st.composite
def mutated(draw: st.DrawFn, whole: Any, prefix: str = "") -> Any:
    """A record that looks real, with some of it gone or of another kind."""
    value = json.loads(json.dumps(whole))
    if prefix:
        value["id"] = prefix + draw(endings)
    if "status" in value:
        value["status"] = draw(statuses)
    for _ in range(draw(st.integers(0, 4))):
        there = places(value)
        if not there:
            break
        container, key = draw(st.sampled_from(there))
        if draw(st.booleans()):
            container[key] = draw(values)
        else:
            del container[key]
    if draw(st.integers(0, 4)) == 0:
        value[draw(names | odd_texts)] = draw(values)
    return value


@st.composite
def texts(draw: st.DrawFn, whole: Any = JOB, prefix: str = "ftjob-") -> bytes:
    """One record as text: JSON, or nearly."""
    value = draw(mutated(whole, prefix) | values)
    try:
        text = json.dumps(value, ensure_ascii=draw(st.booleans())).encode()
    except UnicodeEncodeError:
        text = json.dumps(value).encode()
    spoil = draw(st.integers(0, 19))
    if spoil == 0:
        return text.replace(b'"a"', b'"\xff"')
    if spoil == 1 and text.endswith(b"}"):
        return text[:-1] + b',"seed":1,"seed":1}'
    if spoil == 2 and text.endswith(b"}"):
        return text[:-1] + b',"deep":' + b"[" * 300 + b"]" * 300 + b"}"
    return text


def bodies() -> st.SearchStrategy[bytes]:
    """What may come instead of a page."""
    envelopes = st.fixed_dictionaries(
        {},
        optional={
            "object": values,
            "data": values | st.lists(mutated(JOB, "ftjob-"), max_size=3),
            "has_more": values,
            "last_id": values,
            "error": values,
        },
    )
    return envelopes.map(_dumped) | texts() | st.binary(max_size=40)


def tables() -> st.SearchStrategy[bytes]:
    """What may come as the content of a result file."""
    cells = st.sampled_from(["", "1", "2", "0.5", "6e-05", "nan", "x", '"', "1,5", "-3", "9" * 30])
    heads = st.permutations(["step", "train_loss", "valid_loss", "", "train_loss"]).map(",".join)
    lines = st.lists(st.lists(cells, max_size=6).map(",".join), max_size=6)
    table = st.builds(lambda head, rest: "\n".join([head, *rest]).encode(), heads, lines)
    return table | st.binary(max_size=60) | texts(FILE, "file-") | bodies()


def _dumped(value: Any) -> bytes:
    return json.dumps(value).encode()


@dataclass(frozen=True)
class Kind:
    """One kind of case: what is drawn for each, and what is done with it."""

    name: str
    drawn: st.SearchStrategy[Any]
    #: Raises AssertionError where something is lost, and whatever a run should not raise.
    run: Callable[[Any], None]
    #: How many arbitrary records are in what was drawn.
    size: Callable[[Any], int] = len


@contextmanager
def kinds(engine: Engine, directory: Path) -> Iterator[list[Kind]]:
    """Every kind, with its server running until the end of the block."""
    with ExitStack() as stack:
        made = [
            Kind("jobs", st.lists(texts(), max_size=6), stack.enter_context(_jobs(engine))),
            Kind("jobs in a file", st.lists(texts(), max_size=6), _files(engine, directory)),
            Kind("pages", bodies(), stack.enter_context(_pages(engine)), _one),
        ]
        children = stack.enter_context(_children(engine))
        events = st.lists(texts(EVENT, "ftevent-x"), max_size=4)
        checkpoints = st.lists(texts(CHECKPOINT, "ftckpt-x"), max_size=4)
        made += [
            Kind("events", events, children.events),
            Kind("checkpoints", checkpoints, children.checkpoints),
            Kind("lists of events", bodies(), children.list_of_events, _one),
            Kind("files", texts(FILE, ""), children.file, _one),
            Kind("result files", tables(), children.content, _one),
        ]
        yield made


def _one(_: Any) -> int:
    return 1


# Jobs


def counted(engine: Engine) -> tuple[int, int, int]:
    """Rows of jobs, lines of the ledger of jobs, lines of quarantine without a reason."""
    empty = select(func.count()).select_from(quarantine).where(quarantine.c.reason == "")
    ledger = select(func.count()).select_from(records).where(records.c.resource == "jobs")
    with engine.connect() as connection:
        main = connection.scalar(select(func.count()).select_from(jobs.jobs))
        return main or 0, connection.scalar(ledger) or 0, connection.scalar(empty) or 0


def check(engine: Engine, result: RunResult, items: Sequence[bytes]) -> None:
    """All that came in is accounted for, and the tables agree."""
    counts = result.counts
    assert result.error is None
    assert result.status in ("success", "partial")
    assert counts["records"] == len(items)
    assert counts["records"] == sum(
        counts[name] for name in ("created", "updated", "unchanged", "older", "quarantined")
    )
    main, ledger, unexplained = counted(engine)
    assert (main, unexplained) == (ledger, 0)


def _ids(engine: Engine, table: str) -> set[str]:
    with engine.connect() as connection:
        return set(connection.scalars(select(metadata.tables[table].c.id)))


#: Stand around what is arbitrary, and have to come through.
NEIGHBOURS = [_dumped(job("ftjob-first")), _dumped(job("ftjob-last"))]


@contextmanager
def _jobs(engine: Engine) -> Iterator[Callable[[list[bytes]], None]]:
    """Pages of jobs, between two good ones."""
    body: list[bytes] = []
    with serve(lambda _: Reply(body[0])) as server:
        source = Source(base_url=server.url, api_key=Secret("KEY", "sk-1"))
        # Each list has nothing of the one before: what is gone is believed to be gone.
        order = Order([source], [jobs.RESOURCE], mode="full", accept_missing=True)

        def run(items: list[bytes]) -> None:
            items = [NEIGHBOURS[0], *items, NEIGHBOURS[1]]
            body[:] = [b'{"data":[' + b",".join(items) + b'],"has_more":false}']
            check(engine, sync(engine, order, lambda _: None), items)
            again = sync(engine, order, lambda _: None)
            check(engine, again, items)
            assert again.status == "success"
            assert _ids(engine, "jobs") >= {"ftjob-first", "ftjob-last"}

        yield run


def _files(engine: Engine, directory: Path) -> Callable[[list[bytes]], None]:
    """Files of jobs."""
    path = directory / "jobs.json"
    order = ImportOrder([str(path)], OPENAI, discover())

    def run(items: list[bytes]) -> None:
        items = [NEIGHBOURS[0], *items, NEIGHBOURS[1]]
        path.write_bytes(b"[" + b",".join(items) + b"]")
        check(engine, import_files(engine, order, lambda _: None), items)
        again = import_files(engine, order, lambda _: None)
        check(engine, again, items)
        assert again.status == "success"
        assert again.counts["created"] == again.counts["updated"] == 0
        assert _ids(engine, "jobs") >= {"ftjob-first", "ftjob-last"}

    return run


@contextmanager
def _pages(engine: Engine) -> Iterator[Callable[[bytes], None]]:
    """Something else instead of the second page; what the first one held stays."""
    first = b'{"data":[' + b",".join(NEIGHBOURS) + b'],"has_more":true}'
    body: list[bytes] = []

    def answer(seen: Any) -> Reply:
        return Reply(body[0] if dict(seen.query).get("after") == "ftjob-last" else first)

    with serve(answer) as server:
        source = Source(base_url=server.url, api_key=Secret("KEY", "sk-1"), max_attempts=1)
        order = Order([source], [jobs.RESOURCE], mode="full", accept_missing=True)

        def run(text: bytes) -> None:
            empty(engine)
            body[:] = [text]
            result = sync(engine, order, lambda _: None, sleep=lambda _: None)
            assert result.status in ("success", "partial", "failed")
            assert _ids(engine, "jobs") >= {"ftjob-first", "ftjob-last"}
            main, ledger, unexplained = counted(engine)
            assert (main, unexplained) == (ledger, 0)

        yield run


# What hangs off jobs


def empty(engine: Engine) -> None:
    """A mirror as new, for what would not be asked for a second time."""
    with engine.begin() as connection:
        for table in metadata.tables.values():
            connection.execute(delete(table))


class Children:
    """Three jobs; what hangs off the one in the middle is arbitrary."""

    def __init__(self, engine: Engine, api: Api, source: Source) -> None:
        self._engine = engine
        self._api = api
        self._source = source

    def events(self, items: list[bytes]) -> None:
        """Events among good ones, newest first."""
        good = [_dumped(event(f"ftevent-good-{number}")) for number in (2, 1)]
        body = b'{"data":[' + b",".join([good[0], *items, good[1]]) + b'],"has_more":false}'
        self._run("events", events_path("ftjob-b"), body)
        self._require("job_events", {"ftevent-a", "ftevent-c", "ftevent-good-1", "ftevent-good-2"})

    def checkpoints(self, items: list[bytes]) -> None:
        """Checkpoints among good ones."""
        good = [_dumped(checkpoint(f"ftckpt-good-{number}", "ftjob-b")) for number in (2, 1)]
        body = b'{"data":[' + b",".join([good[0], *items, good[1]]) + b'],"has_more":false}'
        self._run("checkpoints", checkpoints_path("ftjob-b"), body)
        expected = {"ftckpt-a", "ftckpt-c", "ftckpt-good-1", "ftckpt-good-2"}
        self._require("job_checkpoints", expected)

    def list_of_events(self, body: bytes) -> None:
        """Something else instead of a list."""
        self._run("events", events_path("ftjob-b"), body)
        self._require("job_events", {"ftevent-a", "ftevent-c"})

    def file(self, body: bytes) -> None:
        """Something else instead of a file's description."""
        self._run("files", "/files/file-train-b", body)
        self._require("files", {"file-train-a", "file-train-c", "file-result-b"})

    def content(self, body: bytes) -> None:
        """Something else instead of a result file."""
        self._run("metrics", "/files/file-result-b/content", body)
        table = metadata.tables["training_metrics"]
        with self._engine.connect() as connection:
            found = set(connection.scalars(select(table.c.origin_id)))
        assert found >= {"file-result-a", "file-result-c"}

    def _run(self, name: str, path: str, body: bytes) -> None:
        empty(self._engine)
        self._api.instead = {path: Reply(body)}
        known = discover()
        order = Order([self._source], [known["jobs"], known[name]])
        result = sync(self._engine, order, lambda _: None, sleep=lambda _: None)
        assert result.status in ("success", "partial")
        tally = result.sources[0].tallies[-1]
        assert tally.status in ("success", "partial"), tally.error
        counts = tally.counts
        assert counts["records"] == sum(
            counts[one] for one in ("created", "updated", "unchanged", "older", "quarantined")
        )

    def _require(self, table: str, expected: set[str]) -> None:
        assert _ids(self._engine, table) >= expected


@contextmanager
def _children(engine: Engine) -> Iterator[Children]:
    api = Api()
    for name in ("a", "b", "c"):
        api.add(f"ftjob-{name}")
    with api.served(workers=1, max_attempts=1) as source:
        yield Children(engine, api, source)
