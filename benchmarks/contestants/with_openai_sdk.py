"""A script of a few lines: the official SDK pages, sqlite-utils upserts one table with JSON text.

with_openai_sdk.py URL DATABASE first|again
"""

from __future__ import annotations

import sys

from openai import OpenAI
from sqlite_utils import Database


def main(url: str, database: str) -> None:
    """List every job and upsert it."""
    client = OpenAI(base_url=url)
    jobs = (job.to_dict() for job in client.fine_tuning.jobs.list(limit=100))
    Database(database.removeprefix("sqlite:///"))["jobs"].upsert_all(jobs, pk="id", alter=True)


if __name__ == "__main__":
    main(*sys.argv[1:3])
