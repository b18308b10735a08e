"""Invented jobs, each computed from the seed and its serial number when somebody asks for it."""

from bisect import bisect_left
from functools import lru_cache
from math import isqrt

from . import clock
from .biography import REINFORCEMENT, SUPERVISED, Biography, draw
from .dice import Dice, IdCode, base62, mix
from .scenery import SUFFIXES, metadata
from .state import FINAL, State, finished, paused, still_open

#: One job in so many has the id of its elder neighbour with the letters' case exchanged.
_TWIN_EVERY = 40
#: At most so many checkpoints of a job can have a model name of their own.
_MODELS_PER_JOB = 64


class Invented:
    """All invented jobs of a world; serial 0 is the oldest.

    Only what differs from the plan is kept: the states of jobs that changed after the start,
    and the creation times of jobs that came later.
    """

    def __init__(self, seed: int, jobs: int, provider: str) -> None:
        self.azure = provider == "azure"
        self.planned = jobs
        self.arrivals: list[int] = []
        self.changed: dict[int, State] = {}
        self.removed: set[int] = set()
        self._seed = mix(seed, int(self.azure))
        self._ids = IdCode(mix(self._seed, 1), hexadecimal=self.azure)
        self._files = IdCode(mix(self._seed, 2), hexadecimal=self.azure)
        self._models = IdCode(mix(self._seed, 3), bits=46)
        self.organization = "org-" + base62(mix(self._seed, 4) << 64 | mix(self._seed, 5), 24)
        self.slug = "acme-robotics"
        self._open = min(jobs // 4, 6 + isqrt(jobs) // 4)
        self._stuck = self._abandoned()
        self.life = lru_cache(maxsize=50_000)(self._life)

    def __len__(self) -> int:
        return self.planned + len(self.arrivals)

    # Times

    def created_at(self, serial: int) -> int:
        """When a job was created; never earlier than that of the serial before."""
        if serial >= self.planned:
            return self.arrivals[serial - self.planned]
        if serial % 23 == 5:
            # Two jobs in one second.
            serial -= 1
        settled = self.planned - self._open
        if serial < settled:
            begin, length, slots, slot = clock.START, self._settled_span(), settled, serial
        else:
            begin, length = clock.NOW - 3 * clock.HOUR, 3 * clock.HOUR - 120
            slots, slot = self._open, serial - settled
        jitter = mix(self._seed, 6, serial) % length
        return begin + (slot * length + jitter) // slots

    @staticmethod
    def _settled_span() -> int:
        return clock.NOW - clock.HOUR * 12 - clock.START

    # Ids

    def job_id(self, serial: int) -> str:
        """The id of a job."""
        if self._is_twin(serial):
            body = self._ids.encode(serial - 1, 24).swapcase()
        else:
            body = self._ids.encode(serial, 32 if self.azure else 24)
        return "ftjob-" + body

    def find(self, job_id: str) -> int | None:
        """The serial of the job with this id, or None."""
        serial = self.find_any(job_id)
        return None if serial in self.removed else serial

    def find_any(self, job_id: str) -> int | None:
        """The same, also for a job that was removed."""
        if not job_id.startswith("ftjob-"):
            return None
        body = job_id[6:]
        serial = self._ids.decode(body)
        if serial is None or self._is_twin(serial):
            elder = self._ids.decode(body.swapcase())
            serial = None if elder is None or not self._is_twin(elder + 1) else elder + 1
        if serial is None or serial >= len(self):
            return None
        return serial if self.job_id(serial) == job_id else None

    def _is_twin(self, serial: int) -> bool:
        return not self.azure and serial % _TWIN_EVERY == 7

    def file_id(self, serial: int, slot: int) -> str:
        """The id of a job's file: slot 0 training, 1 validation, 2 result."""
        length = 24 if self.created_at(serial) < clock.SHORT_FILE_IDS else 22
        length = 32 if self.azure else length
        return "file-" + self._files.encode(serial * 3 + slot, length)

    def input_files(self, serial: int) -> tuple[str, str | None]:
        """The ids of a job's training file and of its validation file, None where it has none."""
        first = self._first_run(serial)
        validated = first if self.life(first).has_validation else serial
        has_validation = self.life(serial).has_validation
        return self.file_id(first, 0), self.file_id(validated, 1) if has_validation else None

    def _first_run(self, serial: int) -> int:
        """The job that first trained on this one's file: itself, where it is no rerun."""
        life = self.life(serial)
        dice = life.dice(10)
        if self.azure or not dice.percent(18):
            return serial
        elder = serial - dice.between(1, 4)
        # Nobody trains again on a file that was refused, or that another method reads.
        if elder < 0 or self.life(elder).phase == "files" or self.life(elder).method != life.method:
            return serial
        return self._first_run(elder)

    def find_file(self, file_id: str) -> tuple[int, int] | None:
        """The serial and slot a file id stands for, or None."""
        number = self._files.decode(file_id[5:]) if file_id.startswith("file-") else None
        if number is None:
            return None
        serial, slot = divmod(number, 3)
        if serial >= len(self) or self.file_id(serial, slot) != file_id:
            return None
        return serial, slot

    def model_code(self, serial: int, checkpoint: int) -> str:
        """The eight characters that end a model's name; checkpoint 0 is the final model."""
        return self._models.encode(serial * _MODELS_PER_JOB + checkpoint, 8)

    def find_model(self, code: str) -> int | None:
        """The serial of the job that a model's eight characters belong to, or None."""
        number = self._models.decode(code) if len(code) == 8 else None
        if number is None:
            return None
        serial = number // _MODELS_PER_JOB
        return serial if serial < len(self) and serial not in self.removed else None

    # Lives and states

    def _life(self, serial: int) -> Biography:
        key = mix(self._seed, 7, serial)
        life = draw(serial, key, self.created_at(serial), azure=self.azure)
        dice = life.dice(1)
        if dice.percent(45):
            life = life._replace(suffix=dice.pick(SUFFIXES))
        stuck = self._stuck.get(serial)
        if stuck == "paused":
            life = life._replace(
                method=REINFORCEMENT,
                base=clock.REINFORCED,
                has_validation=True,
                n_epochs=2,
                fate="succeeded",
                phase="training",
            )
        if life.method == SUPERVISED and not self.azure:
            elder = self.parent(serial)
            if elder is not None:
                life = life._replace(base=self.life(elder).base)
        return life

    def parent(self, serial: int) -> int | None:
        """The job whose fine-tuned model this one trains further, or None."""
        # One level only: the elder is never a continued one itself, so its model is its base.
        if self.azure or serial % 9 != 4:
            return None
        long_ago = self.created_at(serial) - 12 * clock.HOUR
        elder = bisect_left(range(serial), long_ago, key=self.created_at) - 1
        elder -= (elder - 3) % 9
        if elder < 0 or self.life(elder).method != SUPERVISED:
            return None
        return elder if self.state(elder).status == "succeeded" else None

    def state(self, serial: int) -> State:
        """Where a job stands now."""
        state = self.changed.get(serial)
        if state is not None:
            return state
        life = self.life(serial)
        if serial >= self.planned:
            return State("pending" if self.azure else "validating_files")
        stuck = self._stuck.get(serial)
        if stuck == "paused":
            return paused(life)
        if stuck is not None:
            return State(stuck)
        rank = self.planned - 1 - serial
        if rank < self._open:
            return still_open(life, rank, azure=self.azure, now=clock.NOW)
        return finished(life)

    def final_model(self, serial: int) -> str:
        """The name of the model that a job makes when it succeeds."""
        life = self.life(serial)
        if self.azure:
            suffix = f"-{life.suffix.lower()}" if life.suffix else ""
            return f"{life.base}.ft-{self.job_id(serial)[6:]}{suffix}"
        return f"{self.model_stem(life)}:{self.model_code(serial, 0)}"

    def model_stem(self, life: Biography) -> str:
        """A fine-tuned model's name up to its eight characters."""
        # The API folds the suffix it was given.
        suffix = (life.suffix or "").lower().replace("_", "-")
        return f"ft:{life.base}:{self.slug}:{suffix}"

    def model(self, serial: int) -> str:
        """The model a job trains: a snapshot, or an elder job's fine-tuned model."""
        life = self.life(serial)
        elder = self.parent(serial) if life.method == SUPERVISED else None
        return life.base if elder is None else self.final_model(elder)

    def metadata(self, serial: int) -> dict[str, str] | None:
        """A job's metadata; cheap, so that a filter can look at many jobs."""
        if self.azure or self.created_at(serial) < clock.METADATA:
            return None
        return metadata(Dice(self._seed, 8, serial))

    def open_serials(self) -> list[int]:
        """Jobs without a final status, those that move first in front."""
        recent = range(self.planned - self._open, len(self))
        waiting = [serial for serial in recent if self._waits(serial)]
        return waiting + [serial for serial in self._stuck if self._waits(serial)]

    def _waits(self, serial: int) -> bool:
        return serial not in self.removed and self.state(serial).status not in FINAL

    def _abandoned(self) -> dict[int, str]:
        """Jobs that stopped half-way years ago and were forgotten, with their status."""
        if self.azure or self.planned < 40:
            return {}
        places = {25: "created", 40: "created", 640: "paused", 780: "paused", 910: "paused"}
        found = {}
        for place, status in places.items():
            serial = self.planned * place // 1000
            # Neighbours would name a model that never came to be.
            serial += (serial % 9 in (3, 4)) * 2
            if serial < self.planned - self._open:
                found[serial] = status
        return found
