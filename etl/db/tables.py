"""Our own bookkeeping: the ledger, how far lists were read, runs, quarantine and drift.

The tables of what is mirrored stand in `etl/resources/`, one file a resource, in the same
`metadata`. What a table or column means is its `comment`, which `db upgrade` writes into databases
that keep comments, and `ftmirror schema` prints; its first line says what people need first.
"""

from __future__ import annotations

from typing import Any

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


def refers_to(*targets: str, may_lack: bool = False) -> dict[str, Any]:
    """For a column's `info`: it holds what stands in one of these, written `table.column`.

    It is told in diagrams, and held by no database: the API may name what it does not list. Where
    that is the rule and not an accident, the other row `may_lack`.
    """
    return {"refers_to": targets, "may_lack": may_lack or len(targets) > 1}


def _ledger_columns() -> list[Column[Any]]:
    """What both halves of the ledger say of one observed state of a record."""
    return [
        Column("id_space", Name(64), nullable=False, comment="Whose ids these are, as openai."),
        Column(
            "source", Name(64), nullable=False, comment="The source in the settings that saw it."
        ),
        Column(
            "provider",
            Name(64),
            nullable=False,
            comment="The kind of server: openai, azure or compatible.",
        ),
        Column(
            "project_id",
            Name(),
            comment="The project of that source. NULL where its settings name none.",
            info=refers_to("projects.id"),
        ),
        Column(
            "parent_id",
            Name(),
            comment="What it hangs off, as the job of an event. NULL for a list of its own.",
        ),
        Column(
            "position",
            BigInt,
            comment="Its place in its parent's list, 0 the oldest. NULL where places do not count.",
        ),
        Column(
            "payload",
            LongText(),
            nullable=False,
            comment="The record as it was received, to the byte. How to read it, payload_encoding "
            "says.",
        ),
        Column(
            "payload_encoding",
            Name(16),
            nullable=False,
            comment="How to get the bytes back from the payload: text (they are its UTF-8), "
            "base64, or zlib+base64 (compressed before).",
        ),
        Column(
            "digest",
            Name(32),
            nullable=False,
            comment="Hash of the bytes, the parent and the project: equal means untouched.",
        ),
        Column(
            "canonical_digest",
            Name(32),
            nullable=False,
            comment="The same of the values, whatever their order and white space.",
        ),
        Column(
            "status",
            Name(),
            comment="The record's own status in this state. NULL where it has none.",
        ),
        Column(
            "changed_fields",
            LongText(),
            comment="What differs from the state before, as error.code, status. NULL for the first "
            "state, and for one that was imported after a later one.",
        ),
        Column(
            "observed_at",
            UtcDateTime(),
            comment="When the API said so (UTC). NULL for a state imported without a time.",
        ),
        Column(
            "changed_at",
            UtcDateTime(),
            nullable=False,
            comment="When this mirror took the state in (UTC).",
        ),
        Column(
            "run_id",
            BigInt,
            nullable=False,
            comment="The run that took it in.",
            info=refers_to("sync_runs.id"),
        ),
    ]


records = Table(
    "records",
    metadata,
    Column(
        "resource",
        Name(64),
        primary_key=True,
        comment="The kind of record: jobs, events, checkpoints, …",
    ),
    Column("id", Name(ID_LENGTH), primary_key=True, comment="The record's id."),
    Column(
        "version",
        Integer,
        nullable=False,
        comment="The number of this state; states before it stand in record_versions.",
    ),
    Column(
        "last_version",
        Integer,
        nullable=False,
        comment="The highest number given out, here or in record_versions: the next change takes "
        "one more.",
    ),
    *_ledger_columns(),
    Column(
        "first_seen_at",
        UtcDateTime(),
        nullable=False,
        comment="When this mirror first met the record (UTC).",
    ),
    Column(
        "missing_since",
        UtcDateTime(),
        comment="When a full listing first came without the record (UTC). NULL while it is listed.",
    ),
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
    comment="The ledger: every record mirrored in its newest state, as it was received. All other "
    "tables of what is mirrored can be made anew from it.",
)

record_versions = Table(
    "record_versions",
    metadata,
    Column(
        "resource",
        Name(64),
        primary_key=True,
        comment="The kind of record: jobs, events, checkpoints, …",
    ),
    Column(
        "id",
        Name(ID_LENGTH),
        primary_key=True,
        comment="The record's id.",
        info=refers_to("records.id"),
    ),
    Column(
        "version",
        Integer,
        primary_key=True,
        autoincrement=False,
        comment="The number of the state, in the order in which this mirror took states in.",
    ),
    *_ledger_columns(),
    comment="The ledger's past: every state of a record that another one took the place of.",
)

frontiers = Table(
    "frontiers",
    metadata,
    Column("source", Name(64), primary_key=True, comment="The source whose list it is."),
    Column("resource", Name(64), primary_key=True, comment="The kind of record listed."),
    Column(
        "parent_id",
        Name(),
        primary_key=True,
        comment="What the list hangs off. Empty for a list that belongs to no parent.",
    ),
    Column(
        "newest_ids",
        Json(),
        comment="The newest ids when the list was last read without a gap, newest first. NULL "
        "before that.",
    ),
    Column(
        "gaps",
        Json(),
        comment="Parts above them that were begun and not finished, newest first: their newest "
        "ids, and the cursor behind which nobody has read yet. NULL: none.",
    ),
    Column(
        "cursor",
        LongText(),
        comment="Where the full listing under way stands. NULL where none is.",
    ),
    Column(
        "listing_started_at",
        UtcDateTime(),
        comment="When the listing under way began (UTC). NULL where none is.",
    ),
    Column(
        "listed_at",
        UtcDateTime(),
        comment="When the last listing that reached its end had begun (UTC). NULL: none did yet.",
    ),
    comment="How far each list was read, so that the next sync reads on from there.",
)

child_progress = Table(
    "child_progress",
    metadata,
    Column("resource", Name(64), primary_key=True, comment="What was asked for: events, files, …"),
    Column(
        "parent_id",
        Name(),
        primary_key=True,
        comment="By what it was asked for: a job's id for its events, a file's id for its content.",
    ),
    Column("source", Name(64), nullable=False, comment="The source that was asked."),
    Column(
        "read_at",
        UtcDateTime(),
        comment="When the last read that reached its end had begun (UTC). NULL: none did yet.",
    ),
    Column(
        "is_settled",
        Boolean(create_constraint=False),
        nullable=False,
        comment="Is nothing more expected? A change of the parent takes this back.",
    ),
    Column(
        "absent_since",
        UtcDateTime(),
        comment="Since when the API answers that there is no such thing (UTC). NULL: it does not.",
    ),
    Column(
        "failed_at",
        UtcDateTime(),
        comment="When the last read failed (UTC); others come before it. NULL: it did not.",
    ),
    sqlite_with_rowid=False,
    comment="How far was read what hangs off other records: a job's events, a file's content.",
)

_COUNTED = {
    "pages": "Pages of lists that were read.",
    "requests": "Requests sent to the API, those that were tried again included.",
    "retries": "Requests that were sent once more after a failure.",
    "records": "Records that were read.",
    "created": "Records that the mirror did not have.",
    "updated": "Records that say something else than before.",
    "unchanged": "Records that say the same as before.",
    "older": "States older than the one the mirror has: kept in record_versions, current nowhere.",
    "missing": "Records found to be no longer listed.",
    "quarantined": "Records that could not become rows, whether for the first time or again.",
}
COUNTS = tuple(_COUNTED)


def _count_columns() -> list[Column[int]]:
    return [
        Column(name, BigInt, nullable=False, comment=comment) for name, comment in _COUNTED.items()
    ]


sync_runs = Table(
    "sync_runs",
    metadata,
    Column(
        "id",
        BigInt,
        primary_key=True,
        autoincrement=True,
        comment="The run's number; a later run has a higher one.",
    ),
    Column("started_at", UtcDateTime(), nullable=False, comment="When it began (UTC)."),
    Column("finished_at", UtcDateTime(), comment="When it ended (UTC). NULL while it is running."),
    Column(
        "status",
        Name(16),
        nullable=False,
        comment="running, success, partial (some of it failed or was quarantined; the next run "
        "goes on) or failed, which a run that was killed is as well.",
    ),
    Column(
        "mode",
        Name(16),
        nullable=False,
        comment="What it did: full, incremental (auto while it runs), import, replay or retry (of "
        "what was in quarantine).",
    ),
    Column("error", LongText(), comment="What went wrong, in words. NULL: nothing did."),
    *_count_columns(),
    comment="One line for each run of sync, import, replay and quarantine retry.",
)

sync_resource_runs = Table(
    "sync_resource_runs",
    metadata,
    Column(
        "run_id",
        BigInt,
        primary_key=True,
        autoincrement=False,
        comment="The run.",
        info=refers_to("sync_runs.id"),
    ),
    Column("source", Name(64), primary_key=True, comment="The source in the settings."),
    Column("resource", Name(64), primary_key=True, comment="The kind of record."),
    Column("started_at", UtcDateTime(), nullable=False, comment="When this part began (UTC)."),
    Column("finished_at", UtcDateTime(), comment="When it ended (UTC). NULL while it is running."),
    Column(
        "status",
        Name(16),
        nullable=False,
        comment="running, success, partial or failed, as in sync_runs.",
    ),
    Column(
        "is_whole",
        Boolean(create_constraint=False),
        nullable=False,
        comment="False for a run that was asked for some of the records only (--metadata, an "
        "import).",
    ),
    Column("error", LongText(), comment="What went wrong here, in words. NULL: nothing did."),
    *_count_columns(),
    comment="What a run did with each resource of each source.",
)

quarantine = Table(
    "quarantine",
    metadata,
    Column(
        "id",
        BigInt,
        primary_key=True,
        autoincrement=True,
        comment="The line's number, as `ftmirror quarantine show` takes it.",
    ),
    Column(
        "run_id",
        BigInt,
        nullable=False,
        comment="The run that met it first.",
        info=refers_to("sync_runs.id"),
    ),
    Column("source", Name(64), nullable=False, comment="The source that it came from."),
    Column("resource", Name(64), nullable=False, comment="The kind of record it should be."),
    Column("record_id", Name(ID_LENGTH), comment="Its id. NULL where none could be read."),
    Column("reason", LongText(), nullable=False, comment="Why it could not become rows, in words."),
    Column("payload", LongText(), nullable=False, comment="Its text as it was received."),
    Column(
        "payload_encoding",
        Name(16),
        nullable=False,
        comment="How to get the bytes back from the payload, as in records.",
    ),
    Column(
        "digest",
        Name(32),
        nullable=False,
        comment="Hash of the payload, so that the same bad record seen again is one line.",
    ),
    Column("first_seen_at", UtcDateTime(), nullable=False, comment="When it first came (UTC)."),
    Column("last_seen_at", UtcDateTime(), nullable=False, comment="When it last came (UTC)."),
    Column(
        "resolved_at",
        UtcDateTime(),
        comment="When it could be read after all, or came mended (UTC). NULL while it waits.",
    ),
    # What its text does not say, so that a later version can read it again; see `etl.record`.
    Column(
        "id_space",
        Name(64),
        comment="Whose ids its source has. NULL where nobody noted it.",
    ),
    Column(
        "provider",
        Name(64),
        comment="The kind of server: openai, azure or compatible. NULL where nobody noted it.",
    ),
    Column(
        "project_id",
        Name(),
        comment="The project of its source. NULL: the settings name none, or nobody noted it.",
        info=refers_to("projects.id"),
    ),
    Column(
        "parent_id", Name(), comment="What it hangs off, as the job of an event. NULL: nothing."
    ),
    Column(
        "position",
        BigInt,
        comment="Its place in its parent's list, 0 the oldest. NULL where places do not count.",
    ),
    Column("observed_at", UtcDateTime(), comment="When the API said so (UTC). NULL: not known."),
    Column(
        "is_whole",
        Boolean(create_constraint=False),
        comment="Is the payload the whole text of a record? Not of a request that failed, nor of "
        "one that was shortened. NULL where nobody noted it.",
    ),
    Index("quarantine_by_digest", "resource", "digest"),
    comment="Records that could not become rows, with the reason: nothing is dropped silently.",
)

drift = Table(
    "drift",
    metadata,
    Column("resource", Name(64), primary_key=True, comment="The kind of record it was met in."),
    Column(
        "path", Name(ID_LENGTH), primary_key=True, comment="Where in the record, as method.type."
    ),
    Column(
        "kind",
        Name(64),
        primary_key=True,
        comment="What is odd: unknown_field, unknown_value, wrong_type, missing, …",
    ),
    Column(
        "example",
        LongText(),
        comment="The first value that was seen there, shortened. NULL: there was none.",
    ),
    Column("first_seen_at", UtcDateTime(), nullable=False, comment="When first seen (UTC)."),
    Column("last_seen_at", UtcDateTime(), nullable=False, comment="When last seen (UTC)."),
    Column("occurrences", BigInt, nullable=False, comment="How often it was seen."),
    comment="Fields and values that the API sent and this version does not know. Nothing of them "
    "is lost: they stand in the records.",
)

replays = Table(
    "replays",
    metadata,
    Column("resource", Name(64), primary_key=True, comment="The resource that is replayed."),
    Column(
        "version",
        Name(),
        nullable=False,
        comment="Of this program and schema: another one would make other rows, so it begins anew.",
    ),
    Column(
        "run_id",
        BigInt,
        nullable=False,
        comment="The run that began it: what later runs wrote is not part of it.",
        info=refers_to("sync_runs.id"),
    ),
    Column("started_at", UtcDateTime(), nullable=False, comment="When it began (UTC)."),
    Column("last_id", Name(ID_LENGTH), nullable=False, comment="Ids up to this one are done."),
    Column(
        "drift",
        Json(),
        comment="What was asked for, how many records are done or unreadable, and the drift met so "
        "far. NULL: nothing yet.",
    ),
    comment="How far a replay came that was cut. The line goes when it is done.",
)

prices = Table(
    "prices",
    metadata,
    Column(
        "provider", Name(64), primary_key=True, comment="Whose price: openai, azure or compatible."
    ),
    Column(
        "model",
        Name(),
        primary_key=True,
        comment="A base model's name, or with a * at its end how such names begin.",
    ),
    Column(
        "method",
        Name(64),
        primary_key=True,
        comment="supervised, dpo, reinforcement; empty for any method.",
    ),
    Column(
        "unit",
        Name(32),
        primary_key=True,
        comment="What is paid for: trained_token or training_second.",
    ),
    Column(
        "valid_from",
        UtcDateTime(),
        primary_key=True,
        comment="For jobs that were created from then on (UTC).",
    ),
    Column(
        "valid_until", UtcDateTime(), comment="And before this (UTC). NULL: until today and on."
    ),
    Column(
        "amount_microusd",
        BigInt,
        nullable=False,
        comment="The price of per_quantity units, in micro-dollars (10⁻⁶ US dollars).",
    ),
    Column("per_quantity", BigInt, nullable=False, comment="For so many units is the price."),
    Column(
        "quantity_step",
        BigInt,
        nullable=False,
        comment="A quantity is rounded half up to a multiple of this before it is priced.",
    ),
    Column(
        "has_free_allowance",
        Boolean(create_constraint=False),
        nullable=False,
        comment="Were some tokens free in that time? Which ones, nobody says.",
    ),
    Column(
        "prefix_length",
        Integer,
        comment="Characters of the model's name that must be alike. NULL where all must.",
    ),
    Column(
        "precedence",
        BigInt,
        nullable=False,
        comment="Of all prices that fit a job the one with the highest counts; no two are equal.",
    ),
    Column(
        "confidence", Name(32), nullable=False, comment="How sure it is: sure, likely or unknown."
    ),
    Column("source_note", LongText(), nullable=False, comment="Where the price is from."),
    comment="The price book, as the shipped and the user's file have it: brought into step with "
    "them by every command that needs it, never edited here.",
    info={"group": "money"},
)

line_item_patterns = Table(
    "line_item_patterns",
    metadata,
    Column(
        "pattern",
        Name(),
        primary_key=True,
        comment="A line item that holds this text, in small letters, is of this kind.",
    ),
    Column("kind", Name(32), nullable=False, comment="The kind of cost, as training."),
    comment="What a line item of a bill is for: of the patterns that it holds, the longest "
    "decides. From the price book.",
    info={"group": "money"},
)

sent_alerts = Table(
    "sent_alerts",
    metadata,
    Column("kind", Name(32), primary_key=True, comment="budget, failed_jobs or stale."),
    Column("fact", Name(128), primary_key=True, comment="A hash of what was told."),
    Column(
        "run_id",
        BigInt,
        comment="The run up to which failed jobs were told of. NULL for other kinds.",
        info=refers_to("sync_runs.id"),
    ),
    Column("sent_at", UtcDateTime(), nullable=False, comment="When it was sent (UTC)."),
    comment="What people were told of, so that nobody is told of the same fact twice.",
)

copies = Table(
    "copies",
    metadata,
    Column("table_name", Name(64), primary_key=True, comment="The table that is copied into."),
    Column(
        "origin",
        Name(64),
        nullable=False,
        comment="What it is copied from, so that two mirrors are never mixed.",
    ),
    Column(
        "state",
        Name(64),
        nullable=False,
        comment="As that was then: what tells whether anything was written there since.",
    ),
    Column(
        "last_key",
        Json(),
        comment="The key of the last row copied, as a list. NULL before the first.",
    ),
    Column("copied_rows", BigInt, nullable=False, comment="How many rows were copied so far."),
    Column(
        "finished_at",
        UtcDateTime(),
        comment="When the whole was found equal (UTC). NULL before, and while a later copy writes.",
    ),
    comment="In a mirror that is or was copied into: how far that came, one line a table.",
)

# Made outside Alembic: what guards the migrations, and what outlasts them.
lease_metadata = MetaData()

leases = Table(
    "leases",
    lease_metadata,
    Column("name", Name(32), primary_key=True, comment="What is leased: writer is the only one."),
    Column(
        "token",
        BigInt,
        nullable=False,
        comment="Grows with every holder; a writing transaction that names an old one changes "
        "nothing.",
    ),
    Column("host", Name(), nullable=False, comment="The machine that holds it."),
    Column(
        "machine",
        Name(),
        nullable=False,
        comment="Which boot and which set of processes the pid belongs to. Empty where that is not "
        "known.",
    ),
    Column("pid", BigInt, nullable=False, comment="The process that holds it."),
    Column("command", Name(64), nullable=False, comment="The command that holds it, as sync."),
    Column(
        "acquired_at",
        UtcDateTime(),
        nullable=False,
        comment="When it was taken (UTC), by the database's clock.",
    ),
    Column(
        "renewed_at",
        UtcDateTime(),
        nullable=False,
        comment="When it was last renewed (UTC), likewise.",
    ),
    Column(
        "beats",
        BigInt,
        nullable=False,
        comment="Grows with every renewal: times may be equal, or rounded by a driver.",
    ),
    Column(
        "released_at",
        UtcDateTime(),
        comment="When its holder gave it back (UTC). NULL while it is held.",
    ),
    comment="Who may write: one command at a time holds the lease.",
)

# Views are dropped and made again with every migration, and some databases forget who may read them
# then. So this table is of no migration, and a way down and up again leaves it as it is.
reader_roles = Table(
    "reader_roles",
    lease_metadata,
    Column(
        "role",
        Name(128),
        primary_key=True,
        comment="As the server calls it; on MariaDB a user may have its host behind an @.",
    ),
    Column("granted_at", UtcDateTime(), nullable=False, comment="When it was granted (UTC)."),
    Column(
        "revision",
        Name(32),
        comment="Of which schema it may read each view. NULL while the views are made anew.",
    ),
    comment="Who may read the views, and only them: roles of `ftmirror db grant-reader`.",
)
