"""The tenant whose database this is; every role that may connect reads it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.create_table(
        "perennial_tenant", sa.Column("name", sa.String(64), primary_key=True), if_not_exists=True
    )
    if op.get_context().dialect.name == "postgresql":
        op.execute("GRANT SELECT ON perennial_tenant TO PUBLIC")


def downgrade() -> None:
    """Leave the table, which older code does not know; no row is lost (ADR 48)."""
