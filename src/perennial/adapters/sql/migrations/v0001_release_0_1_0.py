"""Tables of version 0.1.0: releases, intents, ledger, labels, rewards, deliveries, tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

FIELDS = {
    "sqlite": "(CASE WHEN json_valid(entry) THEN json_extract(entry, '$.{name}') END)",
    "postgresql": "(CAST(entry AS json) ->> '{name}')",
}
"""A text field of a ledger entry, as `schema.entry_field` compiles it."""


def upgrade() -> None:
    op.create_table(
        "perennial_release",
        sa.Column("release_id", sa.String(64), primary_key=True),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("phase", sa.String(32), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_index(
        "perennial_release_model", "perennial_release", ["model", "started_us"], if_not_exists=True
    )
    op.create_table(
        "perennial_intent",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(200), nullable=False, unique=True),
        sa.Column("release_id", sa.String(64), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_index("perennial_intent_release", "perennial_intent", ["release_id"], if_not_exists=True)
    _create_ledger()
    _create_feedback()
    op.create_table(
        "perennial_delivery",
        sa.Column("channel", sa.String(64), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("leased_us", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "perennial_token",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        if_not_exists=True,
    )


def _create_ledger() -> None:
    op.create_table(
        "perennial_ledger",
        sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("entry", sa.Text, nullable=False),
        sa.Column("previous", sa.String(64), nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        if_not_exists=True,
    )
    field = FIELDS[op.get_context().dialect.name]
    kind, release = (sa.text(field.format(name=name)) for name in ("kind", "release_id"))
    for name, columns in (("model", ["model"]), ("kind", ["model", kind, "seq"]), ("release", [release])):
        op.create_index(f"perennial_ledger_{name}", "perennial_ledger", columns, if_not_exists=True)
    op.create_table(
        "perennial_ledger_head",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("seq", sa.Integer, nullable=False),
        sa.Column("hash", sa.String(64), nullable=False),
        if_not_exists=True,
    )
    # A head that was lost over existing rows is never made again: the next row would be chained to nothing.
    op.execute(
        f"INSERT INTO perennial_ledger_head (id, seq, hash) SELECT 1, 0, '{'0' * 64}' "  # noqa: S608 constants
        "WHERE NOT EXISTS (SELECT 1 FROM perennial_ledger) AND NOT EXISTS (SELECT 1 FROM perennial_ledger_head)"
    )


def _create_feedback() -> None:
    for name, value in (("feedback", "label"), ("reward", "reward")):
        table = f"perennial_{name}"
        op.create_table(
            table,
            sa.Column("prediction_id", sa.String(128), primary_key=True),
            sa.Column(value, sa.Float, nullable=False),
            sa.Column("received_us", sa.BigInteger, nullable=False),
            if_not_exists=True,
        )
        op.create_index(f"{table}_received", table, ["received_us"], if_not_exists=True)


def downgrade() -> None:
    raise NotImplementedError("there is no code that works on an earlier schema")
