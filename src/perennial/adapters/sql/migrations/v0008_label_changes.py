"""The order in which the labels and reviews of predictions were stored, by which the monitor follows them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.create_table(
        "perennial_label_change",
        sa.Column("prediction_id", sa.String(128), primary_key=True),
        sa.Column("model", sa.String(128), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        if_not_exists=True,
    )
    op.create_index(
        "perennial_label_change_number", "perennial_label_change", ["model", "number"], if_not_exists=True
    )


def downgrade() -> None:
    """Leave the table, which older code does not know; no row is lost (ADR 48)."""
