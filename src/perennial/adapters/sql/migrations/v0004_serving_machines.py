"""Serving machines: what they must hold, what they told, their counters, and calls to them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.create_table(
        "perennial_wanted",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "perennial_machine",
        sa.Column("machine", sa.String(128), primary_key=True),
        sa.Column("seen_us", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "perennial_machine_counters",
        sa.Column("machine", sa.String(128), primary_key=True),
        sa.Column("model", sa.String(128), primary_key=True),
        sa.Column("body", sa.Text, nullable=False),
        if_not_exists=True,
    )
    op.create_table(
        "perennial_machine_call",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("machine", sa.String(128), nullable=False),
        sa.Column("asked_us", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("answer", sa.Text, nullable=True),
        if_not_exists=True,
    )
    op.create_index(
        "perennial_machine_call_machine", "perennial_machine_call", ["machine"], if_not_exists=True
    )


def downgrade() -> None:
    """Leave the tables, which older code does not know; no row is lost (ADR 48)."""
