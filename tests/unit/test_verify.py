"""What a certificate says of its proofs, and which jobs are sampled."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from etl.batch import Known, Refusal
from etl.comparing import Comparing, Comparison, State, sha256_of, state_of
from etl.record import Origin, Record
from etl.resources import discover
from etl.settings import Source
from etl.verify import Certificate, Proof

WHEN = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
MINE = Origin("default", "openai", "openai")
EQUAL = Comparison(listed=3, mirrored=3, equal=3)
DIFFERS = Comparison(listed=3, mirrored=2, equal=1, missing_here=["a"], differing=["b"])


def proof(
    jobs: Comparison | None = EQUAL,
    error: str | None = None,
    children: dict[str, Comparison] | None = None,
) -> Proof:
    return Proof("default", jobs, "x", "y", (), children or {}, 0, 1, error)


def certificate(*proofs: Proof) -> Certificate:
    return Certificate(WHEN, "2026-01-31", proofs)


@pytest.mark.parametrize(
    ("proofs", "verdict", "sentence"),
    [
        ([proof()], "equal", "the mirror holds what the API lists: 3 jobs"),
        ([proof(), proof()], "equal", "the mirror holds what the API lists: 6 jobs"),
        (
            [proof(children={"events": Comparison(1, 1, 1), "checkpoints": Comparison()})],
            "equal",
            "the mirror holds what the API lists: 3 jobs and 1 sampled child",
        ),
        (
            [proof(Comparison(listed=1, quarantined=["a"]))],
            "equal",
            "the mirror holds what the API lists: 1 job, 1 of them in quarantine",
        ),
        ([proof(DIFFERS)], "differs", "the mirror differs from the API in 2 records"),
        (
            [proof(children={"events": Comparison(only_here=["a/b"])})],
            "differs",
            "the mirror differs from the API in 1 record",
        ),
        ([proof(None, "no")], "failed", "nothing was proved; 1 source could not be read"),
        (
            [proof(), proof(None, "no")],
            "partial",
            "the mirror holds what the API lists: 3 jobs; 1 source could not be read",
        ),
        (
            [proof(DIFFERS, "no"), proof(None, "no")],
            "differs",
            "the mirror differs from the API in 2 records; 2 sources could not be read",
        ),
    ],
)
def test_the_verdict_and_its_sentence(proofs: list[Proof], verdict: str, sentence: str) -> None:
    found = certificate(*proofs)
    assert (found.verdict, found.sentence) == (verdict, sentence)


def test_the_hash_is_of_ids_joined_by_newlines() -> None:
    assert sha256_of(["a", "b"]) == (
        "7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78"
    )
    assert sha256_of([]) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def record(text: bytes, origin: Origin = MINE) -> Record:
    return Record("jobs", "ftjob-1", text, origin)


def known(of: Record, missing_since: datetime | None = None) -> dict[str, Known]:
    return {of.id: Known(1, 1, of.origin, of.digest, of.canonical_digest, missing_since)}


def test_how_one_item_stands() -> None:
    held = record(b'{"a":1}')
    assert state_of(record(b'{"a":1}'), known(held)) is State.EQUAL
    assert state_of(record(b'{ "a": 1 }'), known(held)) is State.EQUAL
    assert state_of(record(b'{"a":1.0}'), known(held)) is State.DIFFERING
    assert state_of(record(b'{"a":1'), known(held)) is State.DIFFERING
    assert state_of(record(b'{"a":1}'), {}) is State.MISSING_HERE
    assert state_of(record(b'{"a":1}'), known(held, WHEN)) is State.MARKED_MISSING
    assert state_of(Refusal(b"[]", "no JSON object"), {}) is State.DIFFERING


def test_an_item_is_compared_under_its_owners_project() -> None:
    owned = record(b'{"a":1}', Origin("owner", "openai", "openai", "proj_1"))
    assert state_of(record(b'{"a":1}'), known(owned)) is State.EQUAL
    mine = record(b'{"a":1}', Origin("default", "openai", "openai", "proj_1"))
    assert state_of(record(b'{"a":1}'), known(mine)) is State.DIFFERING
    foreign = record(b'{"a":1}', Origin("owner", "openai", "elsewhere"))
    assert state_of(record(b'{"a":1}'), known(foreign)) is State.DIFFERING


def test_a_seed_samples_the_same_jobs_and_another_seed_others() -> None:
    def sample(size: int, seed: str) -> list[str]:
        ids = [f"ftjob-{number}" for number in range(100)]
        comparing = Comparing(discover()["jobs"], Source(), ids)
        comparing._states.update(dict.fromkeys(ids[:99], State.EQUAL))
        return comparing.sample(size, seed)

    assert sample(5, "a") == sample(5, "a") != sample(5, "b")
    assert sample(5, "a") == sample(9, "a")[:5]
    assert len(sample(200, "a")) == 99
    assert sample(0, "a") == []
