"""dlt: its declarative REST source, merged on the job's id.

with_dlt.py URL DATABASE first|again
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dlt
from dlt.sources.rest_api import rest_api_source


def main(url: str, database: str) -> None:
    """List every job and merge what came."""
    source = rest_api_source(
        {
            "client": {
                "base_url": url,
                "auth": {"type": "bearer", "token": os.environ["OPENAI_API_KEY"]},
            },
            "resources": [
                {
                    "name": "jobs",
                    "primary_key": "id",
                    "write_disposition": "merge",
                    "endpoint": {
                        "path": "fine_tuning/jobs",
                        "params": {"limit": 100},
                        "data_selector": "data",
                        "paginator": {
                            "type": "cursor",
                            "cursor_path": "data[-1].id",
                            "cursor_param": "after",
                            "has_more_path": "has_more",
                        },
                    },
                }
            ],
        }
    )
    destination: Any
    if database.startswith("sqlite:"):
        destination, dataset = dlt.destinations.sqlalchemy(database), "main"
    else:
        destination, dataset = dlt.destinations.postgres(_complete(database)), "fine_tuning"
    pipeline = dlt.pipeline(
        "fine_tuning",
        pipelines_dir=str(Path("pipelines").resolve()),
        destination=destination,
        dataset_name=dataset,
    )
    pipeline.run(source)


def _complete(database: str) -> str:
    """The URL with a host and a password, which dlt wants even where a socket needs neither."""
    url = urlsplit(database)
    if url.hostname and url.password:
        return database
    place = f"{url.username}:none@{url.hostname or 'localhost'}"
    return url._replace(netloc=place).geturl()


if __name__ == "__main__":
    main(*sys.argv[1:3])
