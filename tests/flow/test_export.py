"""What `export` writes, read back by other programs and held against the database."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb
import pytest
from deltalake import DeltaTable
from sqlalchemy import Engine, text

from etl.db import views
from etl.errors import StoreError, UsageError
from etl.export import focus, relations
from etl.export.exporting import Wanted, export
from etl.export.reading import snapshot
from tests import exporting, focus_rules
from tests.dear import servers_when_long
from tests.reporting import at, fill, fill_bills, job, put, put_jobs

FORMULA = '=HYPERLINK("http://x","y")'


def fill_oddly(engine: Engine) -> None:
    """The small history, and values that are easily spoilt on the way."""
    fill(engine)
    fill_bills(engine)
    put(
        engine,
        "job_methods",
        [
            {
                "job_id": "ftjob-a",
                "type": "reinforcement",
                "is_active": True,
                "grader": '{"b": 1.10, "a": [1e2, "ü\\n"]}',
                "response_format": None,
            }
        ],
    )
    names = [("file-1", FORMULA), ("file-2", ""), ("file-3", None), ("file-4", 'a,"b"\r\nü\t🎈')]
    put(
        engine,
        "files",
        (
            {"id": id_, "filename": name, "bytes": 2**53 + 1, "created_at": None}
            for id_, name in names
        ),
    )
    put(
        engine,
        "projects",
        [{"id": "proj_1", "name": "Search", "created_at": at("2024-12-31 23:59:59.999999")}],
    )
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE billed_costs SET amount = :amount WHERE line_item LIKE '%odd%'"),
            {"amount": "0.12345678901234567891"},
        )


@pytest.fixture
def mirror(engine: Engine) -> Engine:
    """The odd history, on each kind of database."""
    fill_oddly(engine)
    return engine


@pytest.fixture
def alone(sqlite_engine: Engine) -> Engine:
    """The same, on SQLite alone."""
    fill_oddly(sqlite_engine)
    return sqlite_engine


def duck(query: str) -> list[dict[str, Any]]:
    relation = duckdb.sql(query)
    assert relation is not None
    found: list[dict[str, Any]] = relation.to_arrow_table().to_pylist()
    return found


def parquet_rows(folder: Path, name: str) -> list[dict[str, Any]]:
    if (folder / f"{name}.parquet").exists():
        return duck(f"SELECT * FROM read_parquet('{folder / name}.parquet')")
    parts = f"read_parquet('{folder / name}/**/*.parquet', hive_partitioning = true)"
    return [
        {column: value for column, value in row.items() if column != "month"}
        for row in duck(f"SELECT * FROM {parts}")
    ]


def database_rows(engine: Engine, name: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(text(f"SELECT * FROM {name}"))]


def same(read: Any, stored: Any) -> bool:
    """Is a value that was read back what the driver gives for it?"""
    if read is None or stored is None:
        return read is stored
    if isinstance(read, datetime):
        moment = datetime.fromisoformat(stored) if isinstance(stored, str) else stored
        return read == moment.replace(tzinfo=UTC)
    if isinstance(read, Decimal):
        return read == Decimal(str(stored))
    if isinstance(read, str) and not isinstance(stored, str):
        return bool(json.loads(read) == stored)  # PostgreSQL's driver decodes JSON
    return bool(read == type(read)(stored))


def assert_same(read: Sequence[dict[str, Any]], stored: Sequence[dict[str, Any]]) -> None:
    assert len(read) == len(stored)
    left = list(stored)
    for row in read:
        found = next((one for one in left if all(same(row[key], one[key]) for key in one)), None)
        assert found is not None, row
        assert list(found) == list(row)
        left.remove(found)


# Read back


def test_duckdb_reads_from_parquet_what_the_database_holds(mirror: Engine, tmp_path: Path) -> None:
    manifest = export(mirror, tmp_path / "lake", Wanted("parquet"))
    names = [one["name"] for one in manifest["tables"]]
    assert set(views.names()) < set(names)
    assert {"jobs", "job_events", "training_metrics", "billed_costs", "prices"} < set(names)
    assert not {"records", "record_versions", "leases", "sync_runs", "frontiers"} & set(names)
    for one in manifest["tables"]:
        stored = database_rows(mirror, one["name"])
        if one["name"] == "sync_health":  # whose age grows
            stored = []
        read = parquet_rows(tmp_path / "lake", one["name"])
        assert_same(read, stored)
        assert one["rows"] == len(read)


def test_rows_are_parted_by_the_utc_month_of_their_time(alone: Engine, tmp_path: Path) -> None:
    export(alone, tmp_path / "lake", Wanted("parquet", ["job_costs", "files", "projects"]))
    written = sorted(path.relative_to(tmp_path / "lake") for path in tmp_path.rglob("*.parquet"))
    assert [path.as_posix() for path in written] == [
        "files/month=__HIVE_DEFAULT_PARTITION__/part-0.parquet",
        "job_costs/month=2025-01/part-0.parquet",
        "job_costs/month=2025-03/part-0.parquet",
        "projects/month=2024-12/part-0.parquet",
    ]
    parts = f"read_parquet('{tmp_path}/lake/files/*/*.parquet', hive_partitioning = true)"
    assert duck(f"SELECT DISTINCT month FROM {parts}") == [{"month": None}]


def test_amounts_are_exact_decimals_and_times_are_utc(alone: Engine, tmp_path: Path) -> None:
    export(alone, tmp_path / "lake", Wanted("parquet", ["billed_costs", "job_costs"]))
    costs = f"read_parquet('{tmp_path}/lake/job_costs/*/*.parquet')"
    types = {row["column_name"]: row["column_type"] for row in duck(f"DESCRIBE FROM {costs}")}
    assert types["cost_microusd"] == "BIGINT"
    assert types["cost_usd"] == "DECIMAL(20,6)"
    assert types["spent_at"] == "TIMESTAMP WITH TIME ZONE"
    assert duck(f"SELECT sum(cost_usd) AS usd FROM {costs}") == [{"usd": Decimal("31.300000")}]
    billed = f"read_parquet('{tmp_path}/lake/billed_costs/*/*.parquet')"
    odd = duck(f"SELECT amount FROM {billed} WHERE line_item LIKE '%odd%'")
    assert odd == [{"amount": Decimal("0.12345678901234567891")}]


@servers_when_long
def test_delta_tables_read_back_as_written(mirror: Engine, tmp_path: Path) -> None:
    manifest = export(mirror, tmp_path / "lake", Wanted("delta"))
    for one in manifest["tables"]:
        table = DeltaTable(str(tmp_path / "lake" / one["name"])).to_pyarrow_dataset().to_table()
        rows = [
            {name: row[name] for name in [column["name"] for column in one["columns"]]}
            for row in table.to_pylist()
        ]
        assert_same(rows, database_rows(mirror, one["name"]))
    jobs = DeltaTable(str(tmp_path / "lake" / "jobs"))
    assert jobs.metadata().partition_columns == ["month"]
    assert jobs.to_pyarrow_dataset().to_table().column("month").unique().to_pylist() == [
        "2025-01",
        "2025-02",
        "2025-03",
    ]


def test_csv_and_jsonl_are_the_same_bytes_on_every_database(mirror: Engine, tmp_path: Path) -> None:
    wanted = [
        "files",
        "job_methods",
        "billed_costs",
        "spend_by_metadata",
        "job_costs:job_id,cost_usd",
    ]
    for form in ("csv", "jsonl"):
        export(mirror, tmp_path / form, Wanted(form, wanted))
    assert (tmp_path / "csv" / "files.csv").read_bytes().decode() == (
        "id,filename,bytes,purpose,created_at,expires_at,status\r\n"
        'file-1,"\'=HYPERLINK(""http://x"",""y"")",9007199254740993,,,,\r\n'
        'file-2,"",9007199254740993,,,,\r\n'
        "file-3,,9007199254740993,,,,\r\n"
        'file-4,"a,""b""\r\nü\t🎈",9007199254740993,,,,\r\n'
    )
    assert (tmp_path / "csv" / "job_costs.csv").read_text().splitlines() == [
        "job_id,cost_usd",
        "ftjob-a,25.000000",
        "ftjob-f,",
        "ftjob-b,6.000000",
        "ftjob-c,0.300000",
        "ftjob-d,",
        "ftjob-e,",
    ]
    assert (tmp_path / "jsonl" / "job_methods.jsonl").read_text() == (
        '{"job_id": "ftjob-a", "type": "reinforcement", "is_active": true, '
        '"grader": {"b": 1.10, "a": [1e2, "ü\\n"]}, "response_format": null}\n'
    )
    odd = (tmp_path / "jsonl" / "billed_costs.jsonl").read_text().splitlines()[2]
    assert '"start_time": "2025-02-01T00:00:00Z"' in odd
    assert '"amount": 0.12345678901234567891' in odd
    assert (tmp_path / "csv" / "spend_by_metadata.csv").read_text().splitlines()[1:] == [
        "team,<i>legal</i>,1,2000000,6000000,6.000000,0.000000,0,0",
        "team,search,1,1000000,25000000,25.000000,0.000000,0,0",
        "team,,4,100500,300000,0.300000,0.300000,2,1",
    ]


def test_text_can_be_left_raw(alone: Engine, tmp_path: Path) -> None:
    export(alone, tmp_path / "raw", Wanted("csv", ["files"], raw_text=True))
    with (tmp_path / "raw" / "files.csv").open(encoding="utf-8", newline="") as file:
        assert [row["filename"] for row in csv.DictReader(file)] == [
            FORMULA,
            "",
            "",
            'a,"b"\r\nü\t🎈',
        ]


def test_an_export_is_of_one_moment(mirror: Engine, tmp_path: Path) -> None:
    """Whoever writes between two tables is seen in none."""
    late = [job("ftjob-z", "2025-03-09 10:00", trained_tokens=None)]

    def write(name: str, _rows: int, _of: int | None) -> None:
        if name == "files":
            put_jobs(mirror, late)

    manifest = export(mirror, tmp_path / "out", Wanted("jsonl", ["files", "jobs"]), step=write)
    assert [one["rows"] for one in manifest["tables"]] == [4, 6]
    assert len(database_rows(mirror, "jobs")) == 7


def test_of_how_many_is_told_where_that_is_cheap(mirror: Engine, tmp_path: Path) -> None:
    told: dict[str, tuple[int, int | None]] = {}

    def step(name: str, rows: int, of: int | None) -> None:
        told[name] = rows, of

    names = ["jobs", "job_costs", "job_times", "job_overview", "billable_usage", "spend_by_month"]
    export(mirror, tmp_path / "out", Wanted("jsonl", names), step=step)
    months = told.pop("spend_by_month")
    assert (months[0] > 0, months[1]) == (True, None)
    assert told == dict.fromkeys(names[:-1], (6, 6))
    since = datetime(2025, 2, 1, tzinfo=UTC)
    wanted = Wanted("jsonl", ["jobs", "job_usage", "job_times"], since)
    manifest = export(mirror, tmp_path / "young", wanted, step=step)
    rows = {one["name"]: one["rows"] for one in manifest["tables"]}
    assert 0 < rows["jobs"] < 6
    assert told["jobs"] == (rows["jobs"], rows["jobs"])
    assert told["job_usage"] == (rows["job_usage"], rows["job_usage"])
    assert told["job_times"] == (rows["job_times"], None)


def test_only_rows_since_a_day(alone: Engine, tmp_path: Path) -> None:
    tables = ["jobs:id", "job_metadata", "job_costs:job_id", "spend_by_month", "training_metrics"]
    manifest = export(
        alone, tmp_path / "out", Wanted("csv", tables, since=datetime(2025, 3, 1, tzinfo=UTC))
    )
    assert {one["name"]: (one["rows"], one["since"]) for one in manifest["tables"]} == {
        "jobs": (3, "created_at"),
        "job_metadata": (0, "jobs.created_at"),
        "job_costs": (4, "spent_at"),
        "spend_by_month": (2, None),
        "training_metrics": (0, "jobs.created_at"),
    }
    assert manifest["since"] == "2025-03-01T00:00:00Z"


def test_the_manifest_holds_each_file_with_its_digest(alone: Engine, tmp_path: Path) -> None:
    said = export(alone, tmp_path / "out", Wanted("parquet", ["jobs", "prices"]))
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest == said
    assert (manifest["format"], manifest["version"]) == ("parquet", said["version"])
    files = {file["path"]: file for one in manifest["tables"] for file in one["files"]}
    there = {path for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {tmp_path / "out" / path for path in files} == there - {tmp_path / "out/manifest.json"}
    for path, file in files.items():
        content = (tmp_path / "out" / path).read_bytes()
        assert (file["bytes"], file["sha256"]) == (len(content), sha256(content).hexdigest())
    again = export(alone, tmp_path / "again", Wanted("parquet", ["jobs", "prices"]))
    assert again["tables"] == said["tables"]  # to the byte


@servers_when_long
def test_an_empty_mirror_gives_headers_and_schemas(engine: Engine, tmp_path: Path) -> None:
    for form in ("csv", "jsonl", "parquet", "delta", "focus", "focus-parquet"):
        manifest = export(engine, tmp_path / form, Wanted(form))
        assert sum(one["rows"] for one in manifest["tables"]) == 0
    assert (tmp_path / "csv" / "job_metadata.csv").read_bytes() == b"job_id,name,value\r\n"
    assert (tmp_path / "focus" / "focus.csv").read_text().startswith("BilledCost,")
    assert parquet_rows(tmp_path / "parquet", "jobs") == []
    empty = DeltaTable(str(tmp_path / "delta" / "jobs")).to_pyarrow_dataset().to_table()
    assert (empty.num_rows, empty.column_names[0]) == (0, "id")


# What can be asked for


def test_every_column_of_every_view_is_declared(sqlite_engine: Engine) -> None:
    with snapshot(sqlite_engine) as connection:
        known = relations.known(connection)
    assert {name for name, one in known.items() if one.kind == "view"} == set(views.names())
    for one in known.values():
        assert set(one.key) <= set(one.columns), one.name
        assert one.time is None or one.columns[one.time].name == "timestamp"
        # Which is what its parts are called by.
        assert one.time is None or "month" not in one.columns


def test_a_value_that_its_column_cannot_hold_is_an_error(
    sqlite_engine: Engine, tmp_path: Path
) -> None:
    put_jobs(sqlite_engine, [job("ftjob-a", "2025-01-10", trained_tokens=None)])
    with sqlite_engine.begin() as connection:
        connection.execute(text("UPDATE jobs SET trained_tokens = 'many'"))
    with pytest.raises(StoreError, match=r"a value of jobs\.trained_tokens cannot be exported"):
        export(sqlite_engine, tmp_path / "out", Wanted("csv", ["jobs"]))
    assert not (tmp_path / "out").exists()


# FOCUS


def focus_rows(folder: Path) -> list[dict[str, str | None]]:
    """The rows of the CSV file, by DuckDB, which tells NULL from the empty text."""
    return duck(
        f"SELECT * FROM read_csv('{folder}/focus.csv', all_varchar = true, "
        "allow_quoted_nulls = false)"
    )


def test_focus_rows_keep_the_rules_of_the_specification(alone: Engine, tmp_path: Path) -> None:
    exporting.fill(alone, 50)
    export(alone, tmp_path / "out", Wanted("focus"))
    rows = focus_rows(tmp_path / "out")
    assert len(rows) == 53
    assert focus_rules.broken(list(focus.COLUMNS), rows) == []


def test_a_job_is_one_row_of_focus(mirror: Engine, tmp_path: Path) -> None:
    manifest = export(mirror, tmp_path / "out", Wanted("focus"))
    rows = focus_rows(tmp_path / "out")
    assert [row["ResourceId"] for row in rows] == ["ftjob-a", "ftjob-b", "ftjob-c"]
    said = {name: value for name, value in rows[0].items() if value is not None}
    assert said == {
        "BilledCost": "25.000000",
        "BillingAccountId": "research",
        "BillingAccountType": "Source",
        "BillingCurrency": "USD",
        "BillingPeriodEnd": "2025-02-01T00:00:00Z",
        "BillingPeriodStart": "2025-01-01T00:00:00Z",
        "ChargeCategory": "Usage",
        "ChargeDescription": (
            "Fine-tuning of gpt-4o-2024-08-06, supervised: an estimate by list price"
        ),
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodEnd": "2025-01-11T00:00:00Z",
        "ChargePeriodStart": "2025-01-10T00:00:00Z",
        "ConsumedQuantity": "1000000.000000",
        "ConsumedUnit": "Tokens",
        "ContractedCost": "25.000000000000",
        "EffectiveCost": "25.000000",
        "InvoiceIssuerName": "OpenAI",
        "ListCost": "25.000000000000",
        "ListUnitPrice": "25.000000",
        "PricingCategory": "Standard",
        "PricingQuantity": "1.000000",
        "PricingUnit": "1000000 Tokens",
        "ProviderName": "OpenAI",
        "PublisherName": "OpenAI",
        "ResourceId": "ftjob-a",
        "ResourceName": "<script>alert(1)</script>",
        "ResourceType": "Fine-Tuning Job",
        "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "OpenAI Fine-Tuning",
        "ServiceSubcategory": "Machine Learning",
        "SkuId": "openai/gpt-4o-2024-08-06/supervised/trained_token",
        "SkuMeter": "Trained Tokens",
        "SkuPriceId": "openai/gpt-4o-2024-08-06/supervised/trained_token",
        "SubAccountId": "proj_1",
        "SubAccountName": "Search",
        "SubAccountType": "Project",
        "Tags": '{"team": "search"}',
        "x_Certainty": "list_price",
        "x_PriceConfidence": "sure",
        "x_JobStatus": "succeeded",
        "x_Model": "gpt-4o-2024-08-06",
        "x_Source": "research",
    }
    # Over midnight and the end of a month: it counts where the views count it.
    assert (rows[1]["ChargePeriodStart"], rows[1]["BilledCost"]) == (
        "2025-03-01T00:00:00Z",
        "6.000000",
    )
    assert (rows[2]["x_Certainty"], rows[2]["x_Reason"]) == ("uncertain", "failed")
    assert manifest["left_out_jobs"] == {"no_price": 1, "no_usage": 1, "open": 1}


def test_hours_are_priced_as_the_view_prices_them(alone: Engine, tmp_path: Path) -> None:
    """Rounded to two decimals of an hour, and what costs nothing has no row."""
    model = "o4-mini-2025-04-16"
    put(
        alone,
        "jobs",
        [
            job(
                id_,
                "2025-08-01 10:00",
                "2025-08-02 10:00",
                model=model,
                method_type="reinforcement",
            )
            for id_ in ("ftjob-r", "ftjob-s")
        ],
    )
    put(
        alone,
        "job_usage",
        (
            {"job_id": id_, "unit": "training_second", "origin": "usage_metrics", "quantity": used}
            for id_, used in (("ftjob-r", 4_519), ("ftjob-s", 0))
        ),
    )
    since = datetime(2025, 8, 1, tzinfo=UTC)
    manifest = export(alone, tmp_path / "out", Wanted("focus-parquet", since=since))
    (row,) = parquet_rows(tmp_path / "out", "focus")
    (stored,) = (one for one in database_rows(alone, "job_costs") if one["job_id"] == "ftjob-r")
    assert (row["ConsumedQuantity"], row["ConsumedUnit"]) == (4519, "Seconds")
    assert (row["PricingQuantity"], row["PricingUnit"]) == (Decimal("1.26"), "Hours")
    assert row["ListCost"] == row["ListUnitPrice"] * row["PricingQuantity"] == Decimal(126)
    assert row["BilledCost"] == Decimal(stored["cost_microusd"]) / 1_000_000 == Decimal(126)
    assert row["x_Certainty"] == "estimate"
    assert manifest["left_out_jobs"] == {"nothing_used": 1}


def test_focus_has_no_tables_to_choose(sqlite_engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="leave --table out"):
        export(sqlite_engine, tmp_path / "out", Wanted("focus", ["jobs"]))


# Many rows


@pytest.mark.long
@pytest.mark.parametrize(
    ("form", "empty_database"),
    [("csv", "mariadb"), ("parquet", "postgresql"), ("focus", "sqlite")],
    indirect=["empty_database"],
)
def test_memory_does_not_grow_with_the_rows(form: str, engine: Engine, tmp_path: Path) -> None:
    url = engine.url.render_as_string(hide_password=False)
    tables = [] if form == "focus" else ["jobs", "job_costs", "job_metadata"]
    exporting.fill(engine, 5_000)
    _, few = exporting.measured(url, form, tmp_path / "few", *tables)
    exporting.more(engine, 5_000, 55_000)
    _, many = exporting.measured(url, form, tmp_path / "many", *tables)
    assert many < few + 60  # MiB
