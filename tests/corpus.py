"""The shared corpus of real objects, unwrapped; a test that needs it skips where it is absent."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

CORPUS = Path(__file__).parent.parent.parent / "shared" / "corpus"


def directory() -> Path:
    """The corpus, or a skip with the reason."""
    if not CORPUS.is_dir():
        pytest.skip("the corpus of real objects (../shared/corpus) is not beside this checkout")
    return CORPUS


@cache
def jobs() -> list[dict[str, Any]]:
    """Every job object of the jobs' and the documentation's lines, in their order."""
    found = []
    for name in ("jobs.jsonl", "docs_examples.jsonl"):
        for line in (directory() / name).read_text().splitlines():
            wrapped = json.loads(line)
            if wrapped["object"]["object"] == "fine_tuning.job":
                found.append(wrapped["object"])
    return found


@cache
def pages() -> list[dict[str, Any]]:
    """The list responses of jobs, as they came."""
    found = []
    for path in sorted((directory() / "pages").glob("jobs-*.json")):
        wrapped = json.loads(path.read_text())
        assert wrapped["endpoint"] == "jobs"
        found.append(wrapped["object"])
    return found


def every_state() -> list[dict[str, Any]]:
    """Every job object there is: lines first, then pages."""
    return jobs() + [job for page in pages() for job in page["data"]]
