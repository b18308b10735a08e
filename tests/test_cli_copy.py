"""`ftmirror copy`, and `import` of a ledger export, as a person and a script call them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from etl.db.engine import open_engine
from etl.moving import copying, files
from etl.moving.destination import Destination
from etl.simulator import Simulator, World
from tests.calling import Answer, Call, caller


@pytest.fixture
def call(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Call]:
    """Call `ftmirror` in a directory with a mirror of 20 jobs."""
    monkeypatch.chdir(tmp_path)

    call = caller(capsys)

    def narrow(*arguments: str) -> Answer:
        answer = call(*arguments)
        assert answer.is_narrow
        return answer

    with Simulator(World(5, 20)) as simulator:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-of-this-test")
        monkeypatch.setenv("OPENAI_BASE_URL", simulator.url)
        assert call("sync", "--resource", "jobs").code == 0
        yield narrow


def write_ledger() -> None:
    engine = open_engine("sqlite:///ftmirror.db")
    files.write(engine, Path("ledger"), progress=lambda *_: None)
    engine.dispose()


def test_a_copy_lists_its_tables_and_the_new_mirror_goes_on(call: Call) -> None:
    answer = call("copy", "--to", "sqlite:///new.db")
    assert (answer.code, answer.err) == (0, "the destination was brought to schema 0006\n")
    lines = answer.out.splitlines()
    assert lines[0].split() == ["table", "rows"]
    assert ["records", "20"] in [line.split() for line in lines]
    assert lines[-1].endswith("read back, both are equal")
    status = [
        call("status", "--json", "--database-url", f"sqlite:///{name}.db").json
        for name in ("ftmirror", "new")
    ]
    assert status[0]["totals"] == status[1]["totals"] != {}
    assert [one["records"] for one in status[1]["sources"] if one["resource"] == "jobs"] == [20]
    spent = [
        call("spend", "--format", "table", "--database-url", f"sqlite:///{name}.db").out
        for name in ("ftmirror", "new")
    ]
    assert spent[0] == spent[1] != ""
    run = call("sync", "--json", "--resource", "jobs", "--database-url", "sqlite:///new.db").json
    assert run["run_id"] == 2
    assert run["mode"] == "incremental"
    jobs = run["sources"][0]["resources"]["jobs"]
    assert (jobs["created"], jobs["updated"]) == (0, 0)
    assert call("verify", "--database-url", "sqlite:///new.db").code == 0


def test_a_script_gets_one_object(call: Call) -> None:
    answer = call("copy", "--to", "sqlite:///new.db", "--json").json
    assert (answer["status"], answer["went_on"], answer["different"]) == ("success", False, [])
    (jobs,) = (one for one in answer["tables"] if one["name"] == "jobs")
    assert (jobs["rows"], len(jobs["digest"])) == (20, 32)
    assert answer["rows"] == sum(one["rows"] for one in answer["tables"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name the database to copy into: with --to URL, or with --to-env NAME"),
        (("--to", "sqlite:///a.db", "--to-env", "NEW"), "with --to URL, or with --to-env NAME"),
        (("--to-env", "NEW"), "--to-env: the variable NEW is not set, or empty"),
        (("--as-it-stands", "--to", "sqlite:///a.db"), "leave --to out"),
        (("--as-it-stands",), "this mirror is no copy that was cut"),
        (("--to", "oracle://db/x"), '--to unknown database "oracle"'),
        (("--to", "sqlite:///no/a.db"), "there is no directory no"),
        (("--to", "sqlite:///ftmirror.db"), "is the database that is to be copied"),
    ],
)
def test_a_destination_that_cannot_be_is_refused(
    call: Call, arguments: tuple[str, ...], said: str
) -> None:
    answer = call("copy", *arguments)
    assert answer.code == 2
    assert said in answer.err


def test_a_password_on_the_command_line_is_refused_and_one_in_a_variable_never_shown(
    call: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    refused = call("copy", "--to", "postgresql://u:hunter2222@127.0.0.1:1/x")
    assert refused.code == 2
    assert "--to-env NAME" in refused.err
    monkeypatch.setenv("NEW", "postgresql://u:hunter2222@127.0.0.1:1/x?connect_timeout=1")
    monkeypatch.setattr("etl.db.again.FIRST_WAIT", 0.001)
    failed = call("copy", "--to-env", "NEW", "-vv")
    assert failed.code == 1
    assert "hunter2222" not in refused.err + failed.err + failed.out
    (tmp_path / ".env").write_text("LATER=sqlite:///new.db\n")
    assert call("copy", "--to-env", "LATER").code == 0


def test_somebody_elses_file_stays_theirs(call: Call, tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "theirs.db")
    database.execute("CREATE TABLE photos (id)")
    database.close()
    answer = call("copy", "--to", "sqlite:///theirs.db")
    assert answer.code == 2
    assert "the destination is no mirror: it holds other tables (photos)" in answer.err


def test_a_copy_that_is_not_whole_is_refused_to_writers_and_told_to_readers(call: Call) -> None:
    old, new = open_engine("sqlite:///ftmirror.db"), open_engine("sqlite:///new.db")

    def cut(table: str, *_: object) -> None:
        if table == "prices":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copying.copy(old, new, cut)
    old.dispose()
    new.dispose()
    url = "--database-url=sqlite:///new.db"
    written = call("sync", url)
    assert written.code == 2
    assert "this mirror is a copy that has not come to its end" in written.err
    read = call("status", url)
    assert "what follows is a part" in read.err
    exported = call("copy", "--to", "sqlite:///third.db", url)
    assert exported.code == 2
    assert "`ftmirror copy --as-it-stands`" in " ".join(exported.err.split())
    declared = call("copy", "--as-it-stands", url)
    assert declared.code == 3
    assert "warning: not known to be whole: prices, " in declared.err
    said = [line.split() for line in declared.out.splitlines()]
    assert ["jobs", "20", "yes"] in said
    assert ["records", "0", "no"] in said
    assert "a mirror from now on, as it stands." in declared.out
    assert call("copy", "--to", "sqlite:///new.db").out.count("earlier copy") == 1
    assert call("sync", url).code == 0


def test_an_empty_mirror_has_nothing_to_copy(call: Call) -> None:
    for name in ("empty", "new"):  # each with the price book
        assert call("db", "upgrade", "--database-url", f"sqlite:///{name}.db").code == 0
    answer = call("copy", "--to", "sqlite:///new.db", "--database-url", "sqlite:///empty.db")
    assert (answer.code, answer.out) == (0, "nothing to copy: the mirror is empty\n")


def test_no_mirror_is_made_where_there_is_none(call: Call, tmp_path: Path) -> None:
    answer = call("copy", "--to", "sqlite:///new.db", "--database-url", "sqlite:///none.db")
    assert answer.code == 2
    assert "there is no mirror at none.db yet" in answer.err
    assert not (tmp_path / "none.db").exists()
    assert not (tmp_path / "new.db").exists()


def test_what_differs_in_the_end_is_named_and_is_exit_code_5(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Destination.sums

    def spoilt(self: Any, progress: Any) -> Any:
        with self.engine.begin() as connection:
            connection.exec_driver_sql("UPDATE jobs SET seed = -1")
        return real(self, progress)

    with monkeypatch.context() as patch:
        patch.setattr(Destination, "sums", spoilt)
        answer = call("copy", "--to", "sqlite:///new.db")
    assert answer.code == 5
    assert "not equal: jobs." in answer.out
    assert call("copy", "--to", "sqlite:///new.db").code == 0


def test_a_ledger_export_is_imported_whole_and_alone(call: Call) -> None:
    write_ledger()
    answer = call("import", "ledger", "--database-url", "sqlite:///new.db")
    assert answer.code == 0
    assert answer.out.splitlines()[-1].endswith("read back, both are equal")
    again = call("import", "ledger", "--json", "--database-url", "sqlite:///new.db").json
    assert (again["status"], again["went_on"]) == ("success", True)
    both = call("import", "ledger", "more.jsonl")
    assert both.code == 2
    assert "a ledger export is imported alone" in both.err
    assert call("import", "ledger", "--source", "default").code == 2
    assert call("db", "upgrade", "--database-url", "sqlite:///other.db").code == 0
    assert call("sync", "--resource", "jobs", "--database-url", "sqlite:///other.db").code == 0
    refused = call("import", "ledger", "--database-url", "sqlite:///other.db")
    assert refused.code == 2
    assert "holds a mirror already" in refused.err


def test_another_folder_is_no_export(call: Call, tmp_path: Path) -> None:
    (tmp_path / "stuff").mkdir()
    answer = call("import", "stuff", "--database-url", "sqlite:///new.db")
    assert answer.code == 2
    assert "stuff holds no manifest.json, so it is no ledger export" in answer.err
    write_ledger()
    (tmp_path / "ledger" / "records.jsonl.gz").unlink()
    lacking = call("import", "ledger", "--database-url", "sqlite:///new.db")
    assert lacking.code == 2
    assert "records.jsonl.gz: No such file" in lacking.err
    assert not (tmp_path / "new.db").exists()
