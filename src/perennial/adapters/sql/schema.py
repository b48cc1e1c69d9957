"""Tables of the SQL database, for SQLite and PostgreSQL."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    Text,
    UniqueConstraint,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""Revisions of this schema, oldest first: the files of `migrations`. A change here is a new revision there."""
NEWEST = REVISIONS[-1]
RETIRED = ("perennial_feedback", "perennial_reward")
"""Tables of earlier revisions that nothing reads. They stay where they are, since no migration loses rows."""

metadata = MetaData()


def microseconds(at: datetime) -> int:
    """Return the time as whole microseconds since 1970: exact, and the same in both databases."""
    return (at - EPOCH) // timedelta(microseconds=1)


class entry_field(FunctionElement):  # noqa: N801 an SQL function
    """A text field of a ledger entry's JSON.

    Indexes use it, so that lookups use the text that the hash covers. A separate column could be changed
    without breaking the chain.
    """

    type = String()
    inherit_cache = False  # the name of the field is part of the SQL
    name = "entry_field"


class database_time(FunctionElement):  # noqa: N801 an SQL function
    """The database's clock in whole microseconds since 1970: machines whose own clocks differ compare by it."""

    type = BigInteger()
    inherit_cache = True
    name = "database_time"


@compiles(database_time, "sqlite")
def _sqlite_time(element: database_time, compiler: Any, **kw: Any) -> str:
    return "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)"


@compiles(database_time, "postgresql")
def _postgresql_time(element: database_time, compiler: Any, **kw: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"


@compiles(entry_field, "sqlite")
def _sqlite_field(element: entry_field, compiler: Any, **kw: Any) -> str:
    column, name = element.clauses
    json = compiler.process(column, **kw)
    # A manipulated text that is not JSON must be reported by `ledger verify`; it must not stop every query.
    return f"(CASE WHEN json_valid({json}) THEN json_extract({json}, '$.{name.value}') END)"


@compiles(entry_field, "postgresql")
def _postgresql_field(element: entry_field, compiler: Any, **kw: Any) -> str:
    column, name = element.clauses
    return f"(CAST({compiler.process(column, **kw)} AS json) ->> '{name.value}')"


releases = Table(
    "perennial_release",
    metadata,
    Column("release_id", String(64), primary_key=True),
    Column("model", String(128), nullable=False),
    Column("started_us", BigInteger, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("phase", String(32), nullable=False),
    Column("body", Text, nullable=False),
    Index("perennial_release_model", "model", "started_us"),
    Index("perennial_release_phase", "phase", "model"),
)

# Apart from the release: a pass that changes nothing takes no revision.
release_passes = Table(
    "perennial_release_pass",
    metadata,
    Column("release_id", String(64), primary_key=True),
    Column("at_us", BigInteger, nullable=False),
)

intents = Table(
    "perennial_intent",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String(200), nullable=False, unique=True),
    Column("release_id", String(64), nullable=False),
    Column("body", Text, nullable=False),
    Index("perennial_intent_release", "release_id"),
)

ledger = Table(
    "perennial_ledger",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("model", String(128), nullable=False),
    Column("entry", Text, nullable=False),
    Column("previous", String(64), nullable=False),
    Column("hash", String(64), nullable=False),
    Index("perennial_ledger_model", "model"),
)
Index("perennial_ledger_kind", ledger.c.model, entry_field(ledger.c.entry, "kind"), ledger.c.seq)
Index("perennial_ledger_release", entry_field(ledger.c.entry, "release_id"))

# Has a single row. An append locks it, so that the chain has one end.
ledger_head = Table(
    "perennial_ledger_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("seq", Integer, nullable=False),
    Column("hash", String(64), nullable=False),
)

feedback = Table(
    "perennial_source_feedback",
    metadata,
    Column("kind", String(16), primary_key=True),  # label or reward
    Column("prediction_id", String(128), primary_key=True),
    Column("source", String(32), primary_key=True),
    Column("value", Float, nullable=False),
    Column("received_us", BigInteger, nullable=False),
    Index("perennial_source_feedback_received", "kind", "received_us"),
)

reviews = Table(
    "perennial_review",
    metadata,
    Column("prediction_id", String(128), primary_key=True),
    Column("source", String(32), primary_key=True),
    Column("received_us", BigInteger, primary_key=True),
    Column("digest", String(64), primary_key=True),
    Column("seen_us", BigInteger, nullable=False),  # when the same review was last received
    Column("model", String(128), nullable=False),
    Column("body", Text, nullable=False),
    Column("number", Float),
    Index("perennial_review_received", "received_us"),
)

# The row without a prediction has the newest number; its lock orders the changes.
label_changes = Table(
    "perennial_label_change",
    metadata,
    Column("prediction_id", String(128), primary_key=True),
    Column("model", String(128), nullable=False),
    Column("number", BigInteger, nullable=False),
    Index("perennial_label_change_number", "model", "number"),
)

deliveries = Table(
    "perennial_delivery",
    metadata,
    Column("channel", String(64), primary_key=True),
    Column("body", Text, nullable=False),
    Column("leased_us", BigInteger, nullable=False),
)

# A number belongs to one run, and a run has one number, whichever process asks first.
version_numbers = Table(
    "perennial_version_number",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("number", String(64), primary_key=True),
    Column("run_id", String(64), nullable=False),
    UniqueConstraint("model", "run_id", name="perennial_version_number_run"),
)

tokens = Table(
    "perennial_token",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("body", Text, nullable=False),
)

# The evidence of the monitor about each model's champion; each look that counts predictions takes a revision.
detectors = Table(
    "perennial_detector",
    metadata,
    Column("model", String(128), primary_key=True),
    Column("revision", Integer, nullable=False),
    Column("body", Text, nullable=False),
)

# What the serving machines must hold: versions of pools, routes, small files. The row without a kind has the newest
# generation; its lock orders the changes, so that who has read a generation has seen all before it.
wanted = Table(
    "perennial_wanted",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("name", String(128), primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)

# A machine writes rows under its own name only; on PostgreSQL the database sees to that (`rights`).
machines = Table(
    "perennial_machine",
    metadata,
    Column("machine", String(128), primary_key=True),
    Column("seen_us", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
)

machine_counters = Table(
    "perennial_machine_counters",
    metadata,
    Column("machine", String(128), primary_key=True),
    Column("model", String(128), primary_key=True),
    Column("body", Text, nullable=False),
)

machine_calls = Table(
    "perennial_machine_call",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("machine", String(128), nullable=False),
    Column("asked_us", BigInteger, nullable=False),
    Column("body", Text, nullable=False),
    Column("answer", Text, nullable=True),
    Index("perennial_machine_call_machine", "machine"),
)

# Has a single row where the database is a tenant's, and none where it is of a plant without a tenant.
tenant = Table("perennial_tenant", metadata, Column("name", String(64), primary_key=True))

# Alembic's table under a name of its own: MLflow, Airflow and Optuna have theirs, and may be in the same database.
schema_revision = Table(
    "perennial_alembic_version",
    metadata,
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="perennial_alembic_version_pkc"),
)
