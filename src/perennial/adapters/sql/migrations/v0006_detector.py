"""The state of the monitor's sequential detector of each model."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "perennial_detector",
        sa.Column("model", sa.String(128), primary_key=True),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        if_not_exists=True,
    )


def downgrade() -> None:
    """Leave the table, which older code does not know; no row is lost (ADR 48)."""
