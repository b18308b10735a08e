"""A run reads what is new or still open, and nothing is ever missed for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, select

from etl.db.tables import records
from etl.pipe import RunResult
from etl.settings import Secret, Source
from tests.evolving import small_pages, ticking
from tests.http_server import Reply, Seen, Server, serve
from tests.jobs import job
from tests.mirror import counts, import_objects, rows, sync
from tests.moving import Moving, id_of

START = datetime(2026, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Jobs(Moving):
    """A list of jobs, each also to be had by its id."""

    def __init__(self, count: int, **kind: Any) -> None:
        super().__init__(count, **kind)
        self.asked: list[str] = []
        #: Jobs that only those find who ask for them, and ids that nobody may ask for.
        self.hidden: dict[str, Any] = {}
        self.forbidden: set[str] = set()
        #: Ids that the server stumbles over.
        self.broken: set[str] = set()

    def answer(self, seen: Seen) -> Reply:
        identifier = seen.path.removeprefix("/v1/fine_tuning/jobs").strip("/")
        if not identifier:
            return super().answer(seen)
        self.asked.append(identifier)
        found = self.jobs.get(identifier) or self.hidden.get(identifier)
        if identifier in self.forbidden:
            return Reply({"error": {"message": "not yours"}}, status=403)
        if identifier in self.broken:
            return Reply({"error": {"message": "oh"}}, status=500)
        return Reply(found) if found else Reply({"error": {"message": "none"}}, status=404)

    def open(self, *ids: str, status: str = "running") -> None:
        """These jobs are not done yet."""
        for identifier in ids:
            changed = {"status": status, "finished_at": None, "trained_tokens": None}
            self.jobs[identifier] = {**self.jobs[identifier], **changed}

    def end(self, *ids: str) -> None:
        """These jobs come to their end."""
        for identifier in ids:
            self.jobs[identifier] = {**self.jobs[identifier], "status": "failed"}

    def forget(self) -> None:
        """Count requests from here on."""
        self.asked.clear()
        self.cursors.clear()


@pytest.fixture(autouse=True)
def pages_of_ten() -> Iterator[None]:
    with small_pages(10):
        yield


@pytest.fixture
def api() -> Jobs:
    return Jobs(100)


@pytest.fixture
def server(api: Jobs) -> Iterator[Server]:
    with serve(api.answer) as server:
        yield server


@pytest.fixture
def run(sqlite_engine: Engine, server: Server) -> Callable[..., RunResult]:
    """A run at some time after the first."""

    def run(
        after: timedelta = HOUR, mode: str = "auto", workers: int = 4, **order: Any
    ) -> RunResult:
        key = Secret.from_text("the test", "sk-1")
        source = Source(base_url=server.url, api_key=key, max_attempts=1, workers=workers)
        return sync(sqlite_engine, source, mode=mode, now=lambda: START + after, **order)

    return run


def ids(engine: Engine) -> set[str]:
    return {row["id"] for row in rows(engine, "jobs")}


def frontier(engine: Engine) -> dict[str, Any]:
    (found,) = rows(engine, "frontiers")
    return found


def missing(engine: Engine) -> list[str]:
    query = select(records.c.id).where(records.c.missing_since.is_not(None)).order_by(records.c.id)
    with engine.connect() as connection:
        return list(connection.scalars(query))


def test_the_first_run_lists_everything_the_next_one_asks_once(
    api: Jobs, run: Callable[..., RunResult]
) -> None:
    first = run(timedelta(0))
    assert (first.mode, first.counts["requests"]) == ("full", 10)
    second = run()
    assert (second.mode, second.counts["requests"]) == ("incremental", 1)
    assert counts(second) == {"unchanged": 10}


def test_new_jobs_are_read_down_to_what_is_known(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    run(timedelta(0))
    new = [api.add() for _ in range(25)]
    second = run()
    assert (second.counts["requests"], second.counts["created"]) == (3, 25)
    assert frontier(sqlite_engine)["newest_ids"][:3] == new[:-4:-1]
    assert frontier(sqlite_engine)["gaps"] is None


def test_a_known_job_that_is_told_once_more_at_the_head_hides_no_new_one(
    api: Jobs, run: Callable[..., RunResult]
) -> None:
    """As servers do that put what ended another page before this one."""
    run(timedelta(0))
    known = api.jobs[api.ids[0]]
    for _ in range(25):
        api.add()
    page = [known, *list(api.jobs.values())[:10]]
    api.instead[None] = Reply({"object": "list", "data": page, "has_more": True})
    assert run().counts["created"] == 25


def test_a_full_listing_is_due_after_full_every_and_whenever_it_is_asked_for(
    api: Jobs, run: Callable[..., RunResult]
) -> None:
    run(timedelta(0))
    api.change(id_of(3))
    assert counts(run(timedelta(hours=23))) == {"unchanged": 10}
    assert counts(run(timedelta(hours=25), mode="incremental")) == {"unchanged": 10}
    late = run(timedelta(hours=25))
    assert (late.mode, counts(late)) == ("full", {"updated": 1, "unchanged": 99})
    asked = run(timedelta(hours=26), mode="full")
    assert (asked.mode, counts(asked)) == ("full", {"unchanged": 100})


def test_known_ids_do_not_stop_a_read_unless_the_list_was_read_to_them(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    """A narrowed run brings the newest; the next one still reads what lies between."""
    run(timedelta(0))
    new = [api.add() for _ in range(30)]
    run(narrowing=[("metadata[team]", "a")], time_limit=0.5, clock=ticking())
    assert set(new[-10:]) <= ids(sqlite_engine)
    assert not set(new[:10]) & ids(sqlite_engine)
    assert run().counts["created"] == 20
    assert set(new) <= ids(sqlite_engine)


def test_a_head_that_was_cut_leaves_a_gap_that_the_next_run_closes(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    run(timedelta(0))
    before = frontier(sqlite_engine)["newest_ids"]
    first_new = [api.add() for _ in range(45)]
    cut = run(time_limit=2, clock=ticking())
    assert (cut.status, cut.counts["created"]) == ("partial", 20)
    found = frontier(sqlite_engine)
    assert found["newest_ids"] == before
    assert [gap["cursor"] for gap in found["gaps"]] == [first_new[25]]

    more = [api.add() for _ in range(12)]
    api.forget()
    closed = run(2 * HOUR)
    assert (closed.status, closed.counts["created"]) == ("success", 25 + 12)
    # Two pages of new ones, a look whether the cursor is still there, then on behind it.
    assert api.cursors == [None, more[2], first_new[25], first_new[15], first_new[5]]
    assert api.asked == [first_new[25]]
    assert ids(sqlite_engine) == set(api.ids)
    assert frontier(sqlite_engine)["gaps"] is None


def test_gaps_may_be_several(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    run(timedelta(0))
    for number in range(3):
        for _ in range(30):
            api.add()
        assert run((number + 1) * HOUR, time_limit=1, clock=ticking()).status == "partial"
    assert len(frontier(sqlite_engine)["gaps"]) == 3
    api.forget()
    assert run(5 * HOUR).status == "success"
    assert ids(sqlite_engine) == set(api.ids)
    assert len(api.cursors) < 12


def test_where_the_cursor_of_a_gap_is_gone_the_list_is_read_on_plainly(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    run(timedelta(0))
    new = [api.add() for _ in range(45)]
    run(time_limit=2, clock=ticking())
    api.remove(new[25])
    assert run(2 * HOUR).status == "success"
    assert ids(sqlite_engine) == {*api.ids, new[25]}


def test_the_frontier_survives_the_loss_of_its_newest_ids(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    run(timedelta(0))
    api.remove(*api.ids[:9])
    assert run().counts["requests"] == 1
    api.remove(*api.ids[:30])
    second = run(2 * HOUR)
    # To the end in search of what is known, and then the whole list with all its checks.
    assert (second.counts["requests"], second.status) == (14, "success")
    assert frontier(sqlite_engine)["newest_ids"][0] == api.ids[0]


def test_a_first_listing_goes_on_where_it_was_cut_after_the_new_head(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    cut = run(timedelta(0), time_limit=3, clock=ticking())
    assert (cut.status, cut.counts["created"]) == ("partial", 30)
    assert "time limit" in str(cut.error)
    new = [api.add() for _ in range(3)]
    api.forget()
    second = run()
    assert (second.status, second.counts["created"]) == ("success", 73)
    assert api.cursors[:2] == [None, id_of(70)]
    assert api.asked == [id_of(70)]
    assert ids(sqlite_engine) == set(api.ids) >= set(new)
    found = frontier(sqlite_engine)
    assert (found["cursor"], found["listed_at"]) == (None, START)


def test_any_time_limit_gets_a_first_listing_to_its_end(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    for number in range(1, 20):
        result = run(number * HOUR, time_limit=0.5, clock=ticking())
        api.add()
        if result.status == "success":
            break
    assert number <= 11
    run(20 * HOUR)
    assert ids(sqlite_engine) == set(api.ids)


def test_a_listing_whose_cursor_is_gone_starts_over(
    run: Callable[..., RunResult],
    api: Jobs,
    sqlite_engine: Engine,
    caplog: pytest.LogCaptureFixture,
) -> None:
    api._unknown = "empty"  # what would end the listing early
    run(timedelta(0), time_limit=3, clock=ticking())
    api.remove(id_of(70))
    second = run()
    assert second.status == "success"
    assert ids(sqlite_engine) == {*api.ids, id_of(70)}
    assert "begins anew" in caplog.text
    assert missing(sqlite_engine) == [id_of(70)]


def test_open_jobs_beyond_the_head_are_read_by_their_ids(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    api.open(id_of(95), id_of(50), id_of(40))
    api.open(id_of(30), status="a word of tomorrow")
    run(timedelta(0))
    api.end(id_of(50))
    api.forget()
    second = run()
    assert sorted(api.asked) == [id_of(30), id_of(40), id_of(50)]
    assert counts(second) == {"updated": 1, "unchanged": 12}
    run(2 * HOUR)
    assert sorted(api.asked[3:]) == [id_of(30), id_of(40)]


def test_an_open_job_that_is_gone_is_marked_and_not_asked_for_again(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    api.open(id_of(50))
    run(timedelta(0))
    api.remove(id_of(50))
    second = run()
    assert (second.status, second.counts["missing"]) == ("success", 1)
    assert missing(sqlite_engine) == [id_of(50)]
    api.forget()
    run(2 * HOUR)
    assert api.asked == []


def test_a_success_without_tokens_is_looked_at_for_a_day_after_its_end(
    api: Jobs, run: Callable[..., RunResult]
) -> None:
    ended = int(START.timestamp())
    api.jobs[id_of(50)] |= {"status": "succeeded", "trained_tokens": None, "finished_at": ended}
    run(timedelta(0))
    run(timedelta(hours=23), mode="incremental")
    assert api.asked == [id_of(50)]
    run(timedelta(hours=25), mode="incremental")
    assert api.asked == [id_of(50)]


def test_an_open_job_that_never_changes_is_read_once_a_day_after_a_month(
    api: Jobs, run: Callable[..., RunResult]
) -> None:
    api.open(id_of(50), status="paused")
    run(timedelta(0))
    asked = []
    for hours in (0, 6, 12, 24, 30):
        api.forget()
        run(timedelta(days=31, hours=hours), mode="incremental")
        asked.append(len(api.asked))
    assert asked == [1, 0, 0, 1, 0]


def test_an_open_job_that_cannot_be_read_does_not_stop_the_others(
    api: Jobs, run: Callable[..., RunResult]
) -> None:
    api.open(id_of(50), id_of(40), id_of(30))
    run(timedelta(0))
    api.end(id_of(50), id_of(40), id_of(30))
    api.broken.add(id_of(40))
    second = run()
    assert (second.status, counts(second)) == ("partial", {"updated": 2, "unchanged": 10})
    assert "1 open jobs could not be read" in str(second.error)
    api.broken.clear()
    third = run(2 * HOUR)
    assert (third.status, counts(third)) == ("success", {"updated": 1, "unchanged": 10})


def test_a_server_that_stumbles_over_all_is_not_asked_for_each(
    api: Jobs, run: Callable[..., RunResult]
) -> None:
    api.open(*api.ids[20:90])
    run(timedelta(0))
    api.broken.update(api.ids)
    api.forget()
    second = run()
    assert second.status == "partial"
    assert "no more open jobs were read" in str(second.error)
    assert len(api.asked) < 70


def test_a_run_every_day_lists_everything_every_day_though_clocks_are_not_exact(
    api: Jobs, run: Callable[..., RunResult]
) -> None:
    run(timedelta(0))
    assert run(timedelta(days=1, seconds=-40)).mode == "full"


def test_a_full_listing_marks_what_it_came_without_and_only_that(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    run(timedelta(0))
    gone = [id_of(7), id_of(55), id_of(99)]
    kept = {one: api.jobs[one] for one in gone}
    api.remove(*gone)
    assert run().counts["missing"] == 0
    full = run(timedelta(hours=25))
    assert (full.status, full.counts["missing"]) == ("success", 3)
    assert missing(sqlite_engine) == gone
    assert len(ids(sqlite_engine)) == 100

    assert run(timedelta(hours=50)).counts["missing"] == 0
    api.jobs |= kept
    back = run(timedelta(hours=75))
    assert counts(back) == {"unchanged": 100}
    assert missing(sqlite_engine) == []


def test_a_listing_that_shrank_to_less_than_half_marks_nothing_unless_it_is_believed(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    run(timedelta(0))
    api.remove(*api.ids[:51])
    doubted = run(mode="full")
    assert (doubted.status, doubted.counts["missing"]) == ("partial", 0)
    assert "49 of the 100 jobs" in str(doubted.error)
    assert "--accept-missing" in str(doubted.error)
    assert missing(sqlite_engine) == []
    believed = run(2 * HOUR, mode="full", accept_missing=True)
    assert (believed.status, believed.counts["missing"]) == ("success", 51)


@pytest.mark.parametrize(
    "order",
    [{"narrowing": [("metadata[team]", "a")]}, {"time_limit": 30, "clock": ticking()}],
    ids=["narrowed", "resumed"],
)
def test_a_listing_that_is_not_whole_marks_nothing(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine, order: dict[str, Any]
) -> None:
    run(timedelta(0))
    if "time_limit" in order:
        run(timedelta(hours=25), time_limit=3, clock=ticking())
    api.remove(id_of(20))
    assert run(timedelta(hours=26), **order).counts["missing"] == 0
    assert missing(sqlite_engine) == []


def test_a_job_that_arrived_while_it_was_listed_is_not_missing(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    run(timedelta(0))
    api.forget()
    api.before[5] = api.add
    assert run(mode="full").counts["missing"] == 0
    assert run(2 * HOUR).counts["created"] == 1
    assert missing(sqlite_engine) == []


def test_a_job_of_another_source_is_not_missed_but_taken_over_where_its_own_lost_it(
    sqlite_engine: Engine,
) -> None:
    one, two = Jobs(100), Jobs(100)
    key = Secret.from_text("the test", "sk-1")
    with serve(one.answer) as first, serve(two.answer) as second:
        sources = [
            Source(name="first", base_url=first.url, api_key=key),
            Source(name="second", base_url=second.url, api_key=key),
        ]
        sync(sqlite_engine, *sources, now=lambda: START)
        one.remove(id_of(30))
        sync(sqlite_engine, sources[0], now=lambda: START + HOUR)
        assert missing(sqlite_engine) == [id_of(30)]
        taken = sync(sqlite_engine, sources[1], now=lambda: START + 2 * HOUR)
        assert counts(taken) == {"updated": 1, "unchanged": 99}
        assert missing(sqlite_engine) == []
        two.remove(id_of(31))
        assert counts(sync(sqlite_engine, sources[1], now=lambda: START + 3 * HOUR)) == {
            "unchanged": 99
        }
    assert {row["source"] for row in rows(sqlite_engine, "jobs") if row["id"] == id_of(30)} == {
        "second"
    }


def test_an_import_is_never_taken_for_having_read_the_list(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine, tmp_path: Any
) -> None:
    import_objects(sqlite_engine, [job(one) for one in api.ids[:50]], tmp_path)
    assert rows(sqlite_engine, "frontiers") == []
    assert run().counts["requests"] == 10


@pytest.mark.parametrize("unknown", ["empty", "400", "404"])
def test_a_job_that_vanishes_at_the_end_of_a_page_is_not_the_end_of_the_list(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine, unknown: str
) -> None:
    run(timedelta(0))
    api._unknown = unknown
    api.forget()
    api.before[4] = lambda: api.remove(api.ids[29])
    gone = api.ids[29]
    assert run(mode="full", time_limit=1e6).status == "success"
    # It was on its page before it went.
    assert missing(sqlite_engine) == []
    assert run(2 * HOUR, mode="full").counts["missing"] == 1
    assert missing(sqlite_engine) == [gone]


def test_where_three_ids_of_a_page_are_gone_at_once_nothing_is_called_missing(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    run(timedelta(0))
    api._unknown = "empty"
    api.forget()
    api.before[4] = lambda: api.remove(*api.ids[28:30])
    run(mode="full", time_limit=1e6)  # one reader, page after page
    assert missing(sqlite_engine) == []


def test_a_cursor_that_the_list_does_not_know_though_the_job_is_there_is_no_end(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    api._unknown = "empty"
    run(timedelta(0), time_limit=3, clock=ticking())
    kept = api.jobs[id_of(70)]
    api.remove(id_of(70))
    api.hidden[id_of(70)] = kept
    second = run()
    assert second.status == "success"
    assert ids(sqlite_engine) == {*api.ids, id_of(70)}
    assert frontier(sqlite_engine)["listed_at"] == START + HOUR


def test_a_source_with_a_new_name_takes_over_what_the_old_one_had(
    api: Jobs, server: Server, sqlite_engine: Engine
) -> None:
    api.open(id_of(50))
    key = Secret.from_text("the test", "sk-1")
    old = Source(name="default", base_url=server.url, api_key=key)
    new = Source(name="research", base_url=server.url, api_key=key)
    sync(sqlite_engine, old, now=lambda: START, configured=frozenset({"default"}))
    known = frozenset({"research"})
    taken = sync(sqlite_engine, new, mode="auto", now=lambda: START + HOUR, configured=known)
    assert (taken.mode, counts(taken)) == ("full", {"updated": 100})
    assert {row["source"] for row in rows(sqlite_engine, "jobs")} == {"research"}
    api.end(id_of(50))
    later = sync(sqlite_engine, new, mode="auto", now=lambda: START + 2 * HOUR, configured=known)
    assert counts(later) == {"updated": 1, "unchanged": 10}


def test_what_another_configured_source_has_stays_its_own(
    api: Jobs, server: Server, sqlite_engine: Engine
) -> None:
    key = Secret.from_text("the test", "sk-1")
    one = Source(name="one", base_url=server.url, api_key=key)
    two = Source(name="two", base_url=server.url, api_key=key)
    both = frozenset({"one", "two"})
    sync(sqlite_engine, one, now=lambda: START, configured=both)
    second = sync(sqlite_engine, two, now=lambda: START + HOUR, configured=both)
    assert counts(second) == {"unchanged": 100}
    assert {row["source"] for row in rows(sqlite_engine, "jobs")} == {"one"}


def test_open_jobs_take_turns_where_the_time_is_short(
    api: Jobs, run: Callable[..., RunResult]
) -> None:
    api.open(*api.ids[20:60])
    run(timedelta(0))
    api.forget()
    for number in range(1, 12):
        run(number * HOUR, mode="incremental", time_limit=5, clock=ticking(), workers=1)
    assert set(api.asked) == set(api.ids[20:60])


def test_one_open_job_that_is_forbidden_does_not_keep_a_listing_from_its_end(
    api: Jobs, run: Callable[..., RunResult], sqlite_engine: Engine
) -> None:
    api.open(id_of(75))
    run(timedelta(0), time_limit=3, clock=ticking())
    for _ in range(15):
        api.add()
    api.forbidden.add(id_of(75))
    second = run()
    assert second.status == "partial"
    assert ids(sqlite_engine) == set(api.ids)
