"""What docs/export.md shows is what is printed, and DuckDB answers as it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from etl.cli import main
from tests.test_docs import ROOT, commands, fenced

PAGE = (ROOT / "docs" / "export.md").read_text(encoding="utf-8")


def still(said: str) -> str:
    """Without sizes of Parquet files, which differ by the version that wrote them."""
    return re.sub(r" +[\d,]+$", " <bytes>", said, flags=re.MULTILINE)


def test_the_page_of_exports_shows_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["import", "--quiet", str(ROOT / "tests" / "examples" / "jobs.jsonl")]) == 0
    environment = {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
    }
    blocks = [block.body for block in fenced(PAGE) if block.language == "console"]
    assert len(blocks) == 3
    for body in blocks:
        printed = ""
        for command in commands(body):
            done = subprocess.run(
                ["sh", "-c", command],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=True,
            )
            printed += f"$ {command}\n{done.stdout}"
        assert still(printed) == still(body)
    (query,) = (block.body for block in fenced(PAGE) if block.language == "sql")
    (shown,) = (block.body for block in fenced(PAGE) if block.language == "text")
    answer = duckdb.sql(query)
    assert answer is not None
    lines = ["  ".join("NULL" if v is None else str(v) for v in row) for row in answer.fetchall()]
    assert lines == shown.splitlines()
