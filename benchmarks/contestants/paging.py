"""A floor: page through every job with a bare requests session, and store nothing.

paging.py URL DATABASE first|again
"""

from __future__ import annotations

import sys

import requests


def main(url: str) -> None:
    """Read every page."""
    session = requests.Session()
    query: dict[str, str | int] = {"limit": 100}
    while True:
        page = session.get(f"{url}/fine_tuning/jobs", params=query).json()
        if not page["has_more"]:
            return
        query["after"] = page["data"][-1]["id"]


if __name__ == "__main__":
    main(sys.argv[1])
