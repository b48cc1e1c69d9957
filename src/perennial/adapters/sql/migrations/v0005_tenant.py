"""The tenant whose database this is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "perennial_tenant", sa.Column("name", sa.String(64), primary_key=True), if_not_exists=True
    )


def downgrade() -> None:
    """Leave the table, which older code does not know; no row is lost (ADR 48)."""
