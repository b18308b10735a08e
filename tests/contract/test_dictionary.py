"""Everything is explained once, and the explanations are of what is really there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, inspect, text

from etl import dictionary
from etl.db import comments, explained, views
from etl.db.tables import lease_metadata, metadata
from etl.dictionary import dbml, markdown, mermaid
from etl.errors import StoreError, UsageError
from etl.resources import discover
from etl.simulator import Simulator, World
from etl.spend import prices
from tests.conftest import make_schema
from tests.mirror import EVERYTHING, source_of, sync
from tests.test_docs import answer

#: What PostgreSQL says of a view's column, and the words that may stand for it.
POSTGRESQL = {
    "character varying": {"text"},
    "text": {"text"},
    "timestamp without time zone": {"timestamp"},
    "boolean": {"boolean"},
    "bigint": {"integer"},
    "integer": {"integer"},
    "double precision": {"number"},
    "numeric": {"integer", "number", "decimal"},
}


def said() -> Iterator[tuple[str, str, int]]:
    """Each text of a table or column with its place, and how long it may be."""
    discover()
    for table in (*metadata.tables.values(), *lease_metadata.tables.values()):
        yield table.name, table.comment or "", comments.MOST_OF_TABLE
        for column in table.columns:
            yield f"{table.name}.{column.name}", column.comment or "", comments.MOST_OF_COLUMN
    for name, view in explained.views().items():
        yield name, view.summary, comments.MOST_OF_TABLE
        for one in view.columns:
            yield f"{name}.{one.name}", one.comment, comments.MOST_OF_COLUMN


def test_every_table_view_and_column_is_explained_within_what_databases_take() -> None:
    for place, comment, most in said():
        assert comment, place
        assert comment[0] != " ", place
        assert comment[-1] in ".?…", place
        assert "  " not in comment, place
        assert "\n" not in comment, place
        assert len(comment.encode()) <= most, place


def test_a_column_that_may_be_null_says_what_that_means() -> None:
    for table in dictionary.build().tables:
        for column in table.columns:
            assert ("NULL" in column.comment) >= column.is_nullable, f"{table.name}.{column.name}"


def test_each_view_is_explained_column_by_column_in_their_order(engine: Engine) -> None:
    assert list(explained.views()) == views.names()
    for name, view in explained.views().items():
        found = [column["name"] for column in inspect(engine).get_columns(name)]
        assert [column.name for column in view.columns] == found, name


@pytest.mark.parametrize("empty_database", ["postgresql"], indirect=True)
def test_the_types_of_views_are_those_of_the_database(engine: Engine) -> None:
    query = text(
        "SELECT column_name, data_type FROM information_schema.columns"
        " WHERE table_schema = current_schema() AND table_name = :view"
    )
    with engine.connect() as connection:
        for name, view in explained.views().items():
            found = {row[0]: row[1] for row in connection.execute(query, {"view": name})}
            for column in view.columns:
                assert column.type in POSTGRESQL[found[column.name]], f"{name}.{column.name}"


def test_every_example_answers_an_empty_mirror(engine: Engine) -> None:
    with engine.connect() as connection:
        for name, view in explained.views().items():
            assert connection.execute(text(view.sql)).all() == [], name


def mirrored(url: str, simulator: Simulator) -> Engine:
    """A mirror of the simulator's world, priced."""
    made = make_schema(url)
    sync(made, source_of(simulator), resources=EVERYTHING, book=prices.load(None))
    return made


@pytest.mark.parametrize("empty_database", ["postgresql", "mariadb"], indirect=True)
def test_every_example_answers_as_on_sqlite(empty_database: str, tmp_path: Path) -> None:
    beside = f"sqlite:///{tmp_path / 'beside.db'}"
    with Simulator(World(1, 30)) as simulator:
        one, other = mirrored(empty_database, simulator), mirrored(beside, simulator)
    answered = 0
    for name, view in explained.views().items():
        said = answer(empty_database, view.sql)
        assert said == answer(beside, view.sql), name
        answered += said.count("\n") > 2
    assert answered > 8  # the others ask for what so small a history has not
    with one.connect() as connection:
        for name, view in explained.views().items():
            whole = [column.name for column in view.columns if column.type == "integer"]
            for row in connection.execute(text(f"SELECT * FROM {name}")).mappings():
                assert all(row[at] is None or row[at] == int(row[at]) for at in whole), name
    one.dispose()
    other.dispose()


def test_an_example_asks_the_view_that_it_explains() -> None:
    for name, view in explained.views().items():
        assert re.search(rf"\b(?:FROM|JOIN) {name}\b", view.sql), name
        assert view.question.endswith("?"), name


def test_what_refers_to_something_names_a_column_that_is_there() -> None:
    found = dictionary.build()
    columns = {f"{table.name}.{one.name}" for table in found.tables for one in table.columns}
    for table in found.tables:
        for column in table.columns:
            assert set(column.refers_to) <= columns, f"{table.name}.{column.name}"


def test_rows_that_a_record_owns_and_what_hangs_off_records_refer_to_them() -> None:
    """What resources declare for reading and replacing is what the diagrams show."""
    shown = {
        (f"{one.table}.{one.column}", f"{one.other_table}.{one.other_column}")
        for one in dictionary.build().references()
    }
    for resource in discover().values():
        if resource.table is not None:
            key = f"{resource.table.name}.id"
            for table, column in resource.owned.items():
                assert (f"{table.name}.{column}", key) in shown
            if resource.parents is not None and resource.parents.reads == "item":
                for asked in resource.parents.columns:
                    assert (str(asked), key) in shown
        if resource.parents is not None and resource.parents.named_by is not None:
            for asked in resource.parents.columns:
                assert (str(resource.parents.named_by), str(asked)) in shown


def test_tables_are_grouped_by_what_they_are_for() -> None:
    groups = {table.name: table.group for table in dictionary.build().tables}
    assert groups["jobs"] == groups["job_usage"] == "jobs"
    assert groups["job_events"] == groups["training_metrics"] == groups["files"] == "children"
    assert groups["billed_costs"] == groups["projects"] == groups["prices"] == "money"
    assert groups["records"] == groups["leases"] == groups["sync_runs"] == "bookkeeping"
    assert set(groups.values()) == set(dictionary.GROUPS)


# The files


WHOLE = """\
topic = "money"
summary = "What it cost."
key = ["cost"]
question = "What?"
sql = "SELECT 1"
[columns]
cost = ["integer", "The cost."]
"""


def test_a_whole_explanation_is_read(tmp_path: Path) -> None:
    (tmp_path / "costs.toml").write_text(WHOLE)
    column = explained.ViewColumn("cost", "integer", "The cost.")
    read = explained.read(tmp_path)["costs"]
    assert read == explained.Explained(
        "money", "What it cost.", "What?", "SELECT 1", (column,), ("cost",)
    )


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('question = "What?"', "", r"lacks \['question'\]"),
        ('question = "What?"', 'question = "What?"\nnotes = "x"', r"nobody reads \['notes'\]"),
        ('"money"', '"gold"', "topic is one of jobs, training, money, mirror, not 'gold'"),
        ("it cost.", "it cost", "ends in a full stop"),
        ('["cost"]', '["costs"]', "key and time name columns, not costs"),
        ('["cost"]', '["cost"]\ntime = "day"', "key and time name columns, not day"),
        ('"integer"', '"int"', "a column is written cost = "),
        ('["integer", "The cost."]', '"The cost."', "a column is written cost = "),
        ("[columns]", "[columns", "Expected"),
    ],
)
def test_an_explanation_that_lacks_or_misspells_something_is_refused(
    old: str, new: str, complaint: str, tmp_path: Path
) -> None:
    (tmp_path / "costs.toml").write_text(WHOLE.replace(old, new))
    with pytest.raises(StoreError, match=rf"costs\.toml: .*{complaint}"):
        explained.read(tmp_path)


# The ways to show it


def test_a_name_that_is_not_there_names_the_nearest() -> None:
    with pytest.raises(UsageError) as raised:
        dictionary.build().only(["job_cost", "jobs", "nothing_like_it"])
    assert str(raised.value) == (
        "there is no table or view 'job_cost'; did you mean job_costs?; "
        "there is no table or view 'nothing_like_it'; `ftmirror schema` lists what there is"
    )


def test_a_diagram_holds_keys_and_lines_in_mermaids_grammar() -> None:
    drawn = mermaid.render(dictionary.build(), only_keys=True)
    line = re.compile(
        r"erDiagram|    \w+ \{|        [a-z]+ \w+ (PK|FK|PK, FK)|    \}"
        r"|    \w+ (\|\||\|o)--o\{ \w+ : \w+"
    )
    assert [one for one in drawn.splitlines() if not line.fullmatch(one)] == []
    assert "    jobs ||--o{ job_events : job_id\n" in drawn
    assert "    files |o--o{ jobs : training_file\n" in drawn
    assert "        text status\n" not in drawn
    some = dictionary.build().only(["jobs", "job_events"])
    assert "        text status\n" in mermaid.render(some, only_keys=False)


def test_dbml_names_keys_notes_and_references() -> None:
    some = dictionary.build().only(["jobs", "job_usage", "job_times"])
    written = dbml.render(some)
    assert "  id text [pk, not null" not in written
    assert "  id text [pk, note: 'The job\\'s id, as ftjob-…']\n" in written
    assert "    (job_id, unit, origin) [pk]\n" in written
    assert "Ref: job_usage.job_id > jobs.id\n" in written
    assert "  Note: 'A view. A job\\'s way through time: " in written
    assert written.endswith("TableGroup jobs {\n  jobs\n  job_usage\n}")


def test_markdown_shows_only_what_is_asked_for() -> None:
    page = markdown.render(dictionary.build().only(["job_times"]))
    assert "### `job_times`\n" in page
    assert "## Tables" not in page
    assert "```mermaid" not in page
    assert "```text" not in page
    page = markdown.render(dictionary.build().only(["jobs", "job_metadata"]))
    assert "| **`id`** | text |  | The job's id, as ftjob-… |\n" in page
    assert "| **`job_id`** | text |  | The job. → `jobs.id` |\n" in page
    assert "    jobs ||--o{ job_metadata : job_id\n" in page
    assert "## Views" not in page
