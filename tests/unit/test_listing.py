"""A list read by several at once, over a real server: each item once, whatever goes on."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Iterator, Sequence

import pytest

from etl.api.clients import Clients
from etl.api.paging import Page
from etl.errors import ApiContractError, ApiRefused, TransientApiError
from etl.listing import PAGES_EACH, listing
from etl.settings import Secret, Source
from tests.http_server import Reply, serve
from tests.moving import EMPTY, HEAD, NOT_FOUND, REFUSED, STUMBLES, Moving, id_of

pytestmark = pytest.mark.usefixtures("far_server")

JOBS = "/fine_tuning/jobs"
#: What a server may do with a cursor that it does not know.
MANNERS = [REFUSED, NOT_FOUND, EMPTY, STUMBLES, HEAD]


@contextlib.contextmanager
def reading(moving: Moving, cuts: Sequence[str], workers: int = 4) -> Iterator[Iterator[Page]]:
    with serve(moving.answer) as server:
        key = Secret("KEY", "sk-1")
        source = Source(base_url=server.url, api_key=key, workers=workers, max_attempts=2)
        with (
            Clients(source, sleep=lambda _: None) as clients,
            listing(clients, JOBS, lambda: cuts) as found,
        ):
            yield found


def read(moving: Moving, cuts: Sequence[str], workers: int = 4) -> list[str | None]:
    """The ids that came, in the order in which they did."""
    with reading(moving, cuts, workers) as found:
        return [identifier for page in found for identifier in page.ids]


def readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("reader-")]


@pytest.mark.parametrize("workers", [1, 2, 8])
def test_each_item_comes_once_and_costs_no_request_more(workers: int) -> None:
    """60 jobs in pages of 5; a range whose end lies within a page asks for one more."""
    moving = Moving(60, most=5)
    moving.wanted_at_once = at_once = min(workers, 3)
    whole = moving.ids
    assert sorted(map(str, read(moving, [id_of(40), id_of(20)], workers))) == sorted(whole)
    assert len(moving.cursors) == 12
    assert moving.most_at_once == at_once
    assert readers() == []

    moving.cursors.clear()
    read(moving, [id_of(37), id_of(18)], workers)
    assert len(moving.cursors) <= 12 + 3


def test_nothing_to_cut_is_plain_paging() -> None:
    moving = Moving(20, most=5)
    with reading(moving, []) as found:
        cursors = [page.cursor for page in found]
    assert cursors == [id_of(15), id_of(10), id_of(5), None]
    assert readers() == []


def test_the_head_comes_first_and_pages_name_no_cursor() -> None:
    moving = Moving(60, most=5)
    with reading(moving, [id_of(40), id_of(20)]) as found:
        first, *others = found
    assert first.ids == moving.ids[:5]
    assert {page.cursor for page in (first, *others)} == {None}
    assert moving.cursors[0] is None


def test_the_head_is_asked_for_alone() -> None:
    """A key that is refused is refused once, not by each reader."""
    moving = Moving(60, most=5)
    moving.instead = {None: Reply(status=401)}
    with pytest.raises(ApiRefused):
        read(moving, [id_of(40), id_of(20)])
    assert moving.cursors == [None]


@pytest.mark.parametrize("unknown", MANNERS)
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("gone", [[40], [40, 30], [50, 40, 30, 20, 10], [59, 0], [41, 40, 39]])
def test_cuts_that_were_gone_before(unknown: str, workers: int, gone: list[int]) -> None:
    """Each costs its range, and nothing else."""
    moving = Moving(60, most=5, unknown=unknown)
    moving.remove(*map(id_of, gone))
    cuts = [id_of(number) for number in sorted({50, 40, 30, 20, 10, *gone}, reverse=True)]
    found = read(moving, cuts, workers)
    assert sorted(map(str, found)) == sorted(moving.ids)


@pytest.mark.parametrize("unknown", MANNERS)
def test_a_cut_that_vanishes_after_it_was_met(unknown: str) -> None:
    """With one reader the first range ends at the cut before the second begins behind it."""
    moving = Moving(60, most=5, unknown=unknown)
    moving.before[5] = lambda: moving.remove(id_of(40))
    found = read(moving, [id_of(40), id_of(20)], workers=1)
    assert moving.cursors[4] == id_of(40)
    assert len(found) == 60
    assert set(moving.ids) < set(map(str, found))


def test_an_arrival_behind_the_head_is_left_to_the_next_run() -> None:
    """As in plain paging."""
    moving = Moving(60, most=5)
    moving.before[3] = moving.add
    assert id_of(60) not in read(moving, [id_of(40), id_of(20)])
    assert id_of(60) in read(moving, [id_of(40), id_of(20)])


@pytest.mark.parametrize("unknown", [REFUSED, NOT_FOUND, EMPTY])
def test_a_page_whose_cursor_vanishes_is_asked_for_in_another_way(unknown: str) -> None:
    """Better than plain paging, which ends or fails there."""
    moving = Moving(60, most=5, unknown=unknown)
    moving.before[3] = lambda: moving.remove(str(moving.cursors[-1]))
    found = read(moving, [id_of(40), id_of(20)], workers=1)
    assert moving.cursors[2] not in moving.jobs
    assert len(found) == 60


def test_a_list_in_another_order_than_the_cuts() -> None:
    """Oldest first: no range meets the cut behind its own, but each meets some."""
    moving = Moving(60, most=5)
    moving.jobs = dict(reversed(moving.jobs.items()))
    found = read(moving, [id_of(number) for number in (50, 40, 30, 20, 10)])
    assert sorted(map(str, found)) == sorted(moving.ids)
    assert len(found) == 60
    assert len(moving.cursors) <= 12 + 6


@pytest.mark.parametrize("says_more", [True, False])
def test_a_server_that_does_not_say_whether_there_is_more(says_more: bool) -> None:
    """Then only an empty page is the end, and the last range is read once more to be sure."""
    moving = Moving(60, most=5, says_more=says_more)
    found = read(moving, [id_of(40), id_of(20)])
    assert (len(found), set(map(str, found))) == (60, set(moving.ids))
    assert len(moving.cursors) == (12 if says_more else 12 + 1 + 5)


def test_items_without_an_id_are_not_taken_for_one_another() -> None:
    moving = Moving(60, most=5)
    for number in (53, 52, 48, 12):
        moving.jobs[id_of(number)] = {"object": "fine_tuning.job"}
    found = read(moving, [id_of(40), id_of(20)])
    assert found.count(None) == 4
    assert len(found) == 60


def test_items_without_an_id_that_are_read_again_come_once() -> None:
    moving = Moving(60, most=5)
    moving.jobs[id_of(52)] = {"object": "fine_tuning.job"}
    moving.before[5] = lambda: moving.remove(id_of(40))
    found = read(moving, [id_of(40), id_of(20)], workers=1)
    assert found.count(None) == 1


def test_a_list_that_never_ends_is_an_error() -> None:
    moving = Moving(60, most=5)
    moving.instead = {id_of(45): moving._page(id_of(55), {"limit": "5"})}
    with pytest.raises(ApiContractError, match="the list would never end"):
        read(moving, [id_of(30)])
    assert readers() == []


@pytest.mark.parametrize("status", [401, 403, 503])
def test_an_error_within_a_range_comes_after_the_pages_before_it(status: int) -> None:
    moving = Moving(60, most=5)
    moving.instead = {id_of(30): Reply(status=status)}
    found: list[str | None] = []
    with reading(moving, [id_of(40), id_of(20)]) as pages:
        bare = (page.ids for page in pages)
        with pytest.raises((ApiRefused, TransientApiError)):
            found.extend(identifier for ids in bare for identifier in ids)
    assert found[:5] == moving.ids[:5]
    assert len(found) == len(set(found))
    assert id_of(29) not in found
    assert readers() == []


def test_a_key_refused_where_a_range_begins_is_no_vanished_cut() -> None:
    moving = Moving(60, most=5)
    moving.instead = {id_of(20): Reply(status=401)}
    with pytest.raises(ApiRefused):
        read(moving, [id_of(40), id_of(20)])


def test_no_more_than_so_many_pages_wait() -> None:
    """While one page is looked at: those in the queue, and one in each reader's hands."""
    moving = Moving(600, most=5)
    with reading(moving, [id_of(450), id_of(300), id_of(150)], workers=2) as found:
        next(found)
        last = 0
        while True:
            threading.Event().wait(0.3)
            if len(moving.cursors) == last:
                break
            last = len(moving.cursors)
        assert last == 1 + 2 * PAGES_EACH + 2
        assert [thread.is_alive() for thread in readers()] == [True, True]


def test_leaving_early_ends_the_readers() -> None:
    moving = Moving(600, most=5)
    with reading(moving, [id_of(450), id_of(300), id_of(150)]) as found:
        next(found)
        next(found)
    assert readers() == []
    assert list(found) == []
    assert len(moving.cursors) < 120


def test_a_taker_that_waits_in_another_thread_is_let_go() -> None:
    """As where the writer fails while pages are read ahead."""
    moving = Moving(60, most=5)
    holding = threading.Event()
    moving.before[2] = lambda: holding.wait(0.5)
    taken: list[Page] = []
    with reading(moving, [id_of(40), id_of(20)]) as found:
        taker = threading.Thread(target=lambda: taken.extend(found))
        taker.start()
        while len(moving.cursors) < 2:
            threading.Event().wait(0.01)
    taker.join(5)
    assert not taker.is_alive()
    assert len(taken) <= 1
    assert readers() == []


@pytest.mark.parametrize("seed", range(25))
def test_whatever_happens_meanwhile_what_stays_comes_once(seed: int) -> None:
    """Jobs arrive, change and vanish at any moment, cuts and cursors among them."""
    dice = random.Random(seed)
    moving = Moving(100, most=5, unknown=dice.choice(MANNERS[:3]))
    cuts = [id_of(number) for number in sorted(dice.sample(range(100), 8), reverse=True)]
    before = set(moving.ids)

    def happen() -> None:
        ids = moving.ids
        known = [cut for cut in cuts if cut in ids]
        if dice.random() < 0.5:
            moving.add()
        else:
            moving.change(dice.choice(ids))
        moving.remove(*known[:1])

    moving.before = {dice.randint(1, 20): happen for _ in range(5)}
    moving.before[dice.randint(1, 20)] = lambda: moving.remove(dice.choice(moving.ids))
    found = list(map(str, read(moving, cuts, dice.choice([2, 4, 8]))))
    assert len(found) == len(set(found))
    assert before & set(moving.ids) <= set(found)


def test_what_comes_is_the_bytes_of_the_answer() -> None:
    moving = Moving(10, most=5)
    with reading(moving, [id_of(5)]) as found:
        items = [item for page in found for item in page.items]
    assert items[0] == json.dumps(moving.jobs[id_of(9)]).encode()
