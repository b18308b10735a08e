"""Training, validation and result files of invented jobs."""

from __future__ import annotations

import base64
import heapq
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from . import clock
from .biography import LONGEST_LIFE, REINFORCEMENT, Biography
from .children import measure, valid_reward
from .jobs import Invented
from .scenery import Json
from .slices import dump

TRAINING, VALIDATION, RESULT = 0, 1, 2
#: A file is made at most so many seconds before its job.
_EARLIER = 60
_NAMES = {TRAINING: "train.jsonl", VALIDATION: "valid.jsonl", RESULT: "step_metrics.csv"}


class Place(NamedTuple):
    """Where a file stands in the list: by creation time, then by job and slot."""

    created_at: int
    serial: int
    slot: int


class Files:
    """The files of all invented jobs, found and listed without making all of them."""

    def __init__(self, jobs: Invented) -> None:
        self._jobs = jobs

    def find(self, file_id: str) -> Place | None:
        """The file with this id; None when there is none, or no more."""
        found = self._jobs.find_file(file_id)
        if found is None:
            return None
        return next((place for place in self._of(found[0]) if place.slot == found[1]), None)

    def text(self, place: Place) -> str:
        """The JSON text of a file object."""
        result = place.slot == RESULT
        described: Json = {
            "object": "file",
            "id": self._jobs.file_id(place.serial, place.slot),
            "purpose": "fine-tune-results" if result else "fine-tune",
            "filename": _NAMES[place.slot],
            "bytes": len(self.content(place)),
            "created_at": place.created_at,
            "status": "processed",
        }
        return dump(described)

    def content(self, place: Place) -> bytes:
        """The bytes of a file. Result files are CSV, as a whole in base64 since 2024."""
        life = self._jobs.life(place.serial)
        if place.slot != RESULT:
            return _examples(life, place.slot)
        table = _table(life).encode()
        if place.created_at < clock.RESULTS_ENCODED or self._jobs.azure:
            return table
        return base64.b64encode(table)

    def walk(self, after: Place | None, *, oldest_first: bool) -> Iterator[Place]:
        """Files in the list's order from behind `after` on."""
        planned = self._planned_up(after) if oldest_first else self._planned_down(after)
        # Jobs that changed may have a file of any time: there are few of them, so all are sorted.
        moved = {*self._jobs.changed, *range(self._jobs.planned, len(self._jobs))}
        others = sorted(
            (place for serial in moved for place in self._of(serial)), reverse=not oldest_first
        )
        for place in heapq.merge(planned, others, reverse=not oldest_first):
            if after is None or (place > after if oldest_first else place < after):
                yield place

    def _planned_down(self, after: Place | None) -> Iterator[Place]:
        jobs, waiting = self._jobs, list[tuple[int, int, int]]()
        top = jobs.planned
        if after is not None:
            late = after.created_at + _EARLIER + 1
            top = bisect_left(range(jobs.planned), late, key=jobs.created_at)
        for serial in range(top - 1, -1, -1):
            # No file of this job or of an older one is newer than this.
            limit = jobs.created_at(serial) + LONGEST_LIFE
            while waiting and -waiting[0][0] > limit:
                yield _negated(heapq.heappop(waiting))
            if serial not in jobs.changed:
                for place in self._of(serial):
                    heapq.heappush(waiting, _negated(place))
        while waiting:
            yield _negated(heapq.heappop(waiting))

    def _planned_up(self, after: Place | None) -> Iterator[Place]:
        jobs, waiting = self._jobs, list[Place]()
        bottom = 0
        if after is not None:
            early = after.created_at - LONGEST_LIFE
            bottom = bisect_left(range(jobs.planned), early, key=jobs.created_at)
        for serial in range(bottom, jobs.planned):
            limit = jobs.created_at(serial) - _EARLIER
            while waiting and waiting[0].created_at < limit:
                yield heapq.heappop(waiting)
            if serial not in jobs.changed:
                for place in self._of(serial):
                    heapq.heappush(waiting, place)
        while waiting:
            yield heapq.heappop(waiting)

    def _of(self, serial: int) -> list[Place]:
        jobs = self._jobs  # files outlive a job that is deleted
        life, state = jobs.life(serial), jobs.state(serial)
        dice = life.dice(30)
        kept, result_kept = not dice.percent(20), not dice.percent(12)
        created, found = life.created_at, []
        if kept:
            found.append(Place(created - _EARLIER, serial, TRAINING))
            if life.has_validation:
                found.append(Place(created - _EARLIER // 2, serial, VALIDATION))
        # Only old result files have expired.
        if state.status == "succeeded" and (result_kept or created > clock.METHOD):
            found.append(Place(state.ended_at or created, serial, RESULT))
        return found


def _negated(place: tuple[int, int, int]) -> Place:
    return Place(-place[0], -place[1], -place[2])


def _examples(life: Biography, slot: int) -> bytes:
    dice = life.dice(31 + slot)
    lines = []
    for number in range(10):
        messages = [
            {"role": "user", "content": f"Case {number}: {dice.between(1, 9_999)}?"},
            {"role": "assistant", "content": f"Route {dice.between(1, 9)}."},
        ]
        lines.append(dump({"messages": messages}))
    return ("\n".join(lines) + "\n").encode()


def _table(life: Biography) -> str:
    if life.method == REINFORCEMENT:
        rows = ["step,train_mean_reward,full_valid_mean_reward"]
        rows.extend(
            f"{step},{valid_reward(life, step)},{valid_reward(life, step) if step % 5 == 0 else ''}"
            for step in range(1, life.steps + 1)
        )
        return "\n".join(rows) + "\n"
    rows = ["step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"]
    for step in range(1, life.steps + 1):
        loss, accuracy, valid_loss, valid_accuracy = measure(life, step)
        row = f"{step},{round(loss, 5)},{round(accuracy, 5)},"
        if valid_loss is None or valid_accuracy is None:
            rows.append(row + ",")
        else:
            rows.append(f"{row}{round(valid_loss, 5)},{round(valid_accuracy, 5)}")
    return "\n".join(rows) + "\n"
