"""Feedback by source, numbers of versions, passes over releases. Labels without a source are no longer read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "perennial_source_feedback",
        sa.Column("kind", sa.String(16), primary_key=True),
        sa.Column("prediction_id", sa.String(128), primary_key=True),
        sa.Column("source", sa.String(32), primary_key=True),
        sa.Column("value", sa.Float, nullable=False),
        sa.Column("received_us", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_index(
        "perennial_source_feedback_received",
        "perennial_source_feedback",
        ["kind", "received_us"],
        if_not_exists=True,
    )
    op.create_table(
        "perennial_version_number",
        sa.Column("model", sa.String(128), primary_key=True),
        sa.Column("number", sa.String(64), primary_key=True),
        sa.Column("run_id", sa.String(64), nullable=False),
        sa.UniqueConstraint("model", "run_id", name="perennial_version_number_run"),
        if_not_exists=True,
    )
    op.create_table(
        "perennial_release_pass",
        sa.Column("release_id", sa.String(64), primary_key=True),
        sa.Column("at_us", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )


def downgrade() -> None:
    """Create the tables of labels and rewards without a source, which version 0.1.0 writes."""
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
