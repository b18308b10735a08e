"""Our own bookkeeping: the ledger, how far lists were read, runs, quarantine and drift.

The tables of what is mirrored stand in `etl/resources/`, one file a resource, in the same
`metadata`.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Index, Integer, MetaData, Table

from etl.db.types import BigInt, Json, LongText, Name, UtcDateTime

metadata = MetaData()

#: Longest id any ledger key takes, in characters; a longer one is quarantined, never cut.
ID_LENGTH = 255

#: An index of `records` that holds all that says whether a record is untouched. MariaDB and MySQL
#: keep whole rows, payloads too, in the order of the primary key: to look there for a few words of
#: every record takes more memory than they are given, so it takes ten times as long.
STANDING_INDEX = "records_standing"
#: Who has it; the others read as fast without, and would write for nothing.
WITH_STANDING_INDEX = ("mariadb", "mysql")


def _ledger_columns() -> list[Column[object]]:
    """What both halves of the ledger say of one observed state of a record."""
    return [
        Column("id_space", Name(64), nullable=False),
        Column("source", Name(64), nullable=False),
        Column("provider", Name(64), nullable=False),
        Column("project_id", Name()),
        Column("parent_id", Name()),
        Column("position", BigInt),
        # As received; `payload_encoding` says how to get the bytes back from the text.
        Column("payload", LongText(), nullable=False),
        Column("payload_encoding", Name(16), nullable=False),
        Column("digest", Name(32), nullable=False),
        Column("canonical_digest", Name(32), nullable=False),
        # The record's `status`, and what differs from the state before, as `error.code, status`:
        # NULL for the first one, and for one that was imported after a later one.
        Column("status", Name()),
        Column("changed_fields", LongText()),
        # When the API said so: NULL for a state that was imported without `--observed-at`.
        Column("observed_at", UtcDateTime()),
        # When, and by which run, this mirror took it in.
        Column("changed_at", UtcDateTime(), nullable=False),
        Column("run_id", BigInt, nullable=False),
    ]


records = Table(
    "records",
    metadata,
    Column("resource", Name(64), primary_key=True),
    Column("id", Name(ID_LENGTH), primary_key=True),
    Column("version", Integer, nullable=False),
    # The highest number given out, here or in record_versions: the next change takes one more.
    Column("last_version", Integer, nullable=False),
    *_ledger_columns(),
    Column("first_seen_at", UtcDateTime(), nullable=False),
    Column("missing_since", UtcDateTime()),
    Index(
        STANDING_INDEX,
        "resource",
        "id",
        "digest",
        "source",
        "id_space",
        "missing_since",
        "position",
    ).ddl_if(callable_=lambda *_, dialect, **__: dialect.name in WITH_STANDING_INDEX),
)

record_versions = Table(
    "record_versions",
    metadata,
    Column("resource", Name(64), primary_key=True),
    Column("id", Name(ID_LENGTH), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    *_ledger_columns(),
)

frontiers = Table(
    "frontiers",
    metadata,
    Column("source", Name(64), primary_key=True),
    Column("resource", Name(64), primary_key=True),
    # '' for a list that belongs to no parent.
    Column("parent_id", Name(), primary_key=True),
    # The newest ids when the list was last read without a gap, newest first.
    Column("newest_ids", Json()),
    # Parts above them that were begun and not finished, newest first: their newest ids, and the
    # cursor behind which nobody has read yet.
    Column("gaps", Json()),
    # The listing under way: where it stands, and when it began.
    Column("cursor", LongText()),
    Column("listing_started_at", UtcDateTime()),
    # When the last listing that reached its end had begun.
    Column("listed_at", UtcDateTime()),
)

child_progress = Table(
    "child_progress",
    metadata,
    Column("resource", Name(64), primary_key=True),
    # What was asked for: a job's id for its events, a file's id for its content.
    Column("parent_id", Name(), primary_key=True),
    Column("source", Name(64), nullable=False),
    # When the last read that reached its end had begun.
    Column("read_at", UtcDateTime()),
    # Nothing more is expected; a change of the parent takes this back.
    Column("is_settled", Boolean(create_constraint=False), nullable=False),
    # Since when the API answers that there is no such thing.
    Column("absent_since", UtcDateTime()),
    # When a read failed, if the last one did: others come before it.
    Column("failed_at", UtcDateTime()),
    sqlite_with_rowid=False,
)

COUNTS = (
    "pages",
    "requests",
    "retries",
    "records",
    "created",
    "updated",
    "unchanged",
    "older",
    "missing",
    "quarantined",
)


def _count_columns() -> list[Column[int]]:
    return [Column(name, BigInt, nullable=False) for name in COUNTS]


sync_runs = Table(
    "sync_runs",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=True),
    Column("started_at", UtcDateTime(), nullable=False),
    Column("finished_at", UtcDateTime()),
    Column("status", Name(16), nullable=False),
    Column("mode", Name(16), nullable=False),
    Column("error", LongText()),
    *_count_columns(),
)

sync_resource_runs = Table(
    "sync_resource_runs",
    metadata,
    Column("run_id", BigInt, primary_key=True, autoincrement=False),
    Column("source", Name(64), primary_key=True),
    Column("resource", Name(64), primary_key=True),
    Column("started_at", UtcDateTime(), nullable=False),
    Column("finished_at", UtcDateTime()),
    Column("status", Name(16), nullable=False),
    # False for a run that was asked for some of the records only (`--metadata`, an import).
    Column("is_whole", Boolean(create_constraint=False), nullable=False),
    Column("error", LongText()),
    *_count_columns(),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", BigInt, primary_key=True, autoincrement=True),
    Column("run_id", BigInt, nullable=False),
    Column("source", Name(64), nullable=False),
    Column("resource", Name(64), nullable=False),
    Column("record_id", Name(ID_LENGTH)),
    Column("reason", LongText(), nullable=False),
    Column("payload", LongText(), nullable=False),
    Column("payload_encoding", Name(16), nullable=False),
    # Of the payload, so that the same bad record seen again is one line.
    Column("digest", Name(32), nullable=False),
    Column("first_seen_at", UtcDateTime(), nullable=False),
    Column("last_seen_at", UtcDateTime(), nullable=False),
    Column("resolved_at", UtcDateTime()),
    # What its text does not say, so that a later version can read it again; see `etl.record`.
    Column("id_space", Name(64)),
    Column("provider", Name(64)),
    Column("project_id", Name()),
    Column("parent_id", Name()),
    Column("position", BigInt),
    Column("observed_at", UtcDateTime()),
    # Is the payload the whole text of a record? Not of a request that failed, nor of one that was
    # shortened; NULL where nobody noted it.
    Column("is_whole", Boolean(create_constraint=False)),
    Index("quarantine_by_digest", "resource", "digest"),
)

drift = Table(
    "drift",
    metadata,
    Column("resource", Name(64), primary_key=True),
    Column("path", Name(ID_LENGTH), primary_key=True),
    Column("kind", Name(64), primary_key=True),
    Column("example", LongText()),
    Column("first_seen_at", UtcDateTime(), nullable=False),
    Column("last_seen_at", UtcDateTime(), nullable=False),
    Column("occurrences", BigInt, nullable=False),
)

#: How far a replay came that was cut; the line goes when it is done.
replays = Table(
    "replays",
    metadata,
    Column("resource", Name(64), primary_key=True),
    # Of this program, this schema: another one would make other rows, so it begins anew.
    Column("version", Name(), nullable=False),
    # The run that began it: what later runs wrote is not part of it.
    Column("run_id", BigInt, nullable=False),
    Column("started_at", UtcDateTime(), nullable=False),
    # Ids up to this one are done.
    Column("last_id", Name(ID_LENGTH), nullable=False),
    # What was asked for, how many records are done or unreadable, and the drift met so far.
    Column("drift", Json()),
)

# The price book, as the shipped and the user's file have it: brought into step, never edited here.
prices = Table(
    "prices",
    metadata,
    Column("provider", Name(64), primary_key=True),
    # A model's name, or with a `*` at its end how such names begin.
    Column("model", Name(), primary_key=True),
    # '' for any method.
    Column("method", Name(64), primary_key=True),
    # Of `job_usage`: `trained_token` or `training_second`.
    Column("unit", Name(32), primary_key=True),
    # For jobs that were created from then on, and before `valid_until`.
    Column("valid_from", UtcDateTime(), primary_key=True),
    Column("valid_until", UtcDateTime()),
    # Micro-dollars for so many units.
    Column("amount_microusd", BigInt, nullable=False),
    Column("per_quantity", BigInt, nullable=False),
    # A quantity is rounded half up to a multiple of this before it is priced.
    Column("quantity_step", BigInt, nullable=False),
    # Were some tokens free in that time? Which ones, nobody says.
    Column("has_free_allowance", Boolean(create_constraint=False), nullable=False),
    # Characters of the model's name that must be alike; NULL where all must.
    Column("prefix_length", Integer),
    # Of all prices that fit a job the one with the highest counts; no two have the same.
    Column("precedence", BigInt, nullable=False),
    Column("confidence", Name(32), nullable=False),
    Column("source_note", LongText(), nullable=False),
)

# What a line item of a bill is for: of the patterns that it holds, the longest decides.
line_item_patterns = Table(
    "line_item_patterns",
    metadata,
    # A line item that holds this text, in small letters, is of this kind.
    Column("pattern", Name(), primary_key=True),
    Column("kind", Name(32), nullable=False),
)

# What people were told of, so that nobody is told of the same fact twice; see `etl.alerts`.
sent_alerts = Table(
    "sent_alerts",
    metadata,
    Column("kind", Name(32), primary_key=True),
    Column("fact", Name(128), primary_key=True),
    # The run up to which failed jobs were told of.
    Column("run_id", BigInt),
    Column("sent_at", UtcDateTime(), nullable=False),
)

# Who may look at the views, and only at them: roles that `db grant-reader` gave that to. Views are
# dropped and made again with every migration, and some databases forget the right to them then.
reader_roles = Table(
    "reader_roles",
    metadata,
    Column("role", Name(128), primary_key=True),
    Column("granted_at", UtcDateTime(), nullable=False),
)

# In a mirror that is or was copied into: how far that came, one line a table; see `etl.moving`.
copies = Table(
    "copies",
    metadata,
    Column("table_name", Name(64), primary_key=True),
    # What it is copied from, so that two mirrors are never mixed.
    Column("origin", Name(64), nullable=False),
    # As that was then: what tells whether anything was written there since.
    Column("state", Name(64), nullable=False),
    # The key of the last row copied, as a list; NULL before the first.
    Column("last_key", Json()),
    Column("copied_rows", BigInt, nullable=False),
    # Of the whole: when it was found equal to what it was copied from.
    Column("finished_at", UtcDateTime()),
)

# Made before the first migration and outside Alembic: the lease guards the migrations too.
lease_metadata = MetaData()

leases = Table(
    "leases",
    lease_metadata,
    Column("name", Name(32), primary_key=True),
    # Grows with every holder; a writing transaction that names an old one changes nothing.
    Column("token", BigInt, nullable=False),
    Column("host", Name(), nullable=False),
    # Which boot and which set of processes the pid belongs to; '' where that is not known.
    Column("machine", Name(), nullable=False),
    Column("pid", BigInt, nullable=False),
    Column("command", Name(64), nullable=False),
    # By the database's clock.
    Column("acquired_at", UtcDateTime(), nullable=False),
    Column("renewed_at", UtcDateTime(), nullable=False),
    # Grows with every renewal: times may be equal, or rounded by a driver.
    Column("beats", BigInt, nullable=False),
    Column("released_at", UtcDateTime()),
)
