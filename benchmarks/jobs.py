"""A history of fine-tuning jobs: any number of them, each from its number alone.

Number 0 is the oldest. An id looks random and still gives back its number, so that a cursor needs
no index; everything else of a job comes from one digest of its number.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

#: When the first and the last job were made: from autumn 2023 to autumn 2025.
BEGIN, END = 1_696_100_000, 1_763_500_000
#: Since when jobs name a method, and since when they may have metadata: a quarter of the jobs and a
#: sixth, of which one in six has any. Among real ones a quarter names a method, one in a hundred
#: has metadata.
METHOD_SINCE, METADATA_SINCE = 1_746_600_000, 1_752_300_000
#: So many jobs of a history are not final yet, evenly spread; these are the ones that change.
OPEN = 40

_ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_VALUES = {digit: value for value, digit in enumerate(_ALPHABET)}
_FOLD = bytes(_ALPHABET[byte % 62] for byte in range(256))
_DIGITS = 6
_NUMBERS = 62**_DIGITS
_FACTOR = 35_784_110_477  # has no divisor in common with 62: multiplying scatters, and comes back
_INVERSE: int = pow(_FACTOR, -1, _NUMBERS)

_MODELS = (
    b"gpt-4o-mini-2024-07-18",
    b"gpt-4.1-nano-2025-04-14",
    b"gpt-4.1-mini-2025-04-14",
    b"gpt-4.1-2025-04-14",
    b"gpt-4o-2024-08-06",
)
_RATES = (b"1.8", b"0.1", b"2", b"1.0", b"0.05")
_TEAMS = (b"search", b"support", b"risk", b"research", b"growth")
_STAGES = (b"experiment", b"staging", b"production")
_OPEN_STATUSES = (b"running", b"queued", b"paused", b"validating_files")


def id_of(number: int) -> bytes:
    """The id of a job: `ftjob-` and 24 letters and digits."""
    scattered = number * _FACTOR % _NUMBERS
    head = bytearray(_DIGITS)
    for place in range(_DIGITS):
        scattered, digit = divmod(scattered, 62)
        head[place] = _ALPHABET[digit]
    return b"ftjob-%b%b" % (bytes(head), _digest(number).translate(_FOLD)[:18])


def number_of(job_id: bytes) -> int:
    """The number in an id. Raises ValueError where it holds none."""
    head = job_id.removeprefix(b"ftjob-")[:_DIGITS]
    if len(head) < _DIGITS or not all(digit in _VALUES for digit in head):
        raise ValueError(job_id)
    scattered = sum(_VALUES[digit] * 62**place for place, digit in enumerate(head))
    number: int = scattered * _INVERSE % _NUMBERS
    return number


class History:
    """So many jobs; what each looks like, before and after it changed."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._step = (END - BEGIN) / max(size, 1)
        self._open = frozenset(self.open_numbers())

    def open_numbers(self) -> Iterator[int]:
        """The jobs that are not final, the newest first."""
        count = min(OPEN, self.size)
        for turn in range(count):
            yield self.size - 1 - turn * self.size // count

    def status(self, number: int, *, is_changed: bool = False) -> bytes:
        """The status of a job."""
        return self._status(number, _digest(number), is_changed=is_changed)

    def render(self, number: int, *, is_changed: bool = False) -> bytes:
        """A job as the API sends it, a member a line."""
        digest = _digest(number)
        letters = digest.translate(_FOLD)
        status = self._status(number, digest, is_changed=is_changed)
        is_done = status == b"succeeded"
        model = _MODELS[digest[1] % len(_MODELS)]
        created = BEGIN + int(number * self._step)
        epochs, batch, rate = digest[2] % 9 + 1, 1 << digest[3] % 5, _RATES[digest[4] % 5]
        sizes = b'{"batch_size":%d,"learning_rate_multiplier":%b,"n_epochs":%d' % (
            batch,
            rate,
            epochs,
        )
        has_method = created >= METHOD_SINCE
        is_dpo = has_method and digest[5] < 51
        method = b'{"type":"%b","%b":{"hyperparameters":%b}}}' % (
            (b"dpo", b"dpo", sizes + b',"beta":0.%d' % (digest[6] % 9 + 1))
            if is_dpo
            else (b"supervised", b"supervised", sizes)
        )
        suffix = b"%b-%b" % (_TEAMS[digest[7] % 5], letters[20:28].lower())
        named = b"ft:%b:acme-labs:%b:%b" % (model, suffix, letters[28:36])
        text: bytes = (
            b'{"object":"fine_tuning.job","id":"%b","model":"%b","created_at":%d,"finished_at":%b,'
            b'"fine_tuned_model":%b,"organization_id":"org-Kd0fJb1QzM8vYtRw2XgH5sLe",'
            b'"result_files":[%b],"status":"%b","validation_file":%b,"training_file":"file-%b",'
            b'"hyperparameters":%b,"trained_tokens":%b,"error":%b,"user_provided_suffix":"%b",'
            b'"seed":%d,"estimated_finish":null,"integrations":[%b],"metadata":%b,'
            b'"usage_metrics":null,"shared_with_openai":false,"eval_id":null,'
            b'"internal_worker_backend":null,"internal_peashooter_execution":null,'
            b'"train_experiment_id":null,"eval_experiment_id":null,"method":%b}'
        ) % (
            id_of(number),
            model,
            created,
            b"%d" % (created + 300 + 20 * digest[8]) if is_done else b"null",
            b'"%b"' % named if is_done else b"null",
            b'"file-%b"' % letters[36:58] if is_done else b"",
            status,
            b'"file-%b"' % letters[2:24] if digest[9] < 90 else b"null",
            letters[14:36],
            b"null" if is_dpo else sizes + b"}",
            b"%d" % ((digest[10] << 8 | digest[11]) * 3 * epochs + epochs) if is_done else b"null",
            _ERROR if status == b"failed" else b"{}",
            suffix,
            int.from_bytes(digest[12:16], "big") >> 1,
            _wandb(number, letters) if digest[16] < 13 else b"",
            _metadata(digest, letters)
            if digest[17] < 43 and created >= METADATA_SINCE
            else b"null",
            method if has_method else b"null",
        )
        return text.replace(b',"', b',\n      "').replace(b'":', b'": ')

    def _status(self, number: int, digest: bytes, *, is_changed: bool) -> bytes:
        if number in self._open and not is_changed:
            return _OPEN_STATUSES[digest[0] % 4]
        if number in self._open or digest[0] >= 38:
            return b"succeeded"
        return b"failed" if digest[0] >= 12 else b"cancelled"


_ERROR = (
    b'{"code":"invalid_training_file","message":"The job failed due to an invalid training file. '
    b'Expected file to have JSONL format, where every line is a valid JSON dictionary.",'
    b'"param":"training_file"}'
)


def _digest(number: int) -> bytes:
    return hashlib.blake2b(number.to_bytes(8, "big")).digest()


def _wandb(number: int, letters: bytes) -> bytes:
    return (
        b'{"type":"wandb","wandb":{"project":"tuning","name":null,"entity":"acme-labs",'
        b'"tags":["nightly","seed-%b"],"run_id":"%b"}}'
    ) % (letters[:2], id_of(number))


def _metadata(digest: bytes, letters: bytes) -> bytes:
    return (
        b'{"team":"%b","stage":"%b","ticket":"ML-%d","dataset":"%b",'
        b'"note":"Weekly run on the labelled conversations, deduplicated and reviewed by %b"}'
    ) % (
        _TEAMS[digest[7] % 5],
        _STAGES[digest[18] % 3],
        int.from_bytes(digest[19:21], "big"),
        letters[40:56].lower(),
        letters[56:64],
    )
