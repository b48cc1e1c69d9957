"""Reviews of people about answers, a row per change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.create_table(
        "perennial_review",
        sa.Column("prediction_id", sa.String(128), primary_key=True),
        sa.Column("source", sa.String(32), primary_key=True),
        sa.Column("received_us", sa.BigInteger, primary_key=True),
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("seen_us", sa.BigInteger, nullable=False),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.Column("number", sa.Float, nullable=True),
        if_not_exists=True,
    )
    op.create_index("perennial_review_received", "perennial_review", ["received_us"], if_not_exists=True)


def downgrade() -> None:
    """Leave the table, which older code does not know; no row is lost (ADR 48)."""
