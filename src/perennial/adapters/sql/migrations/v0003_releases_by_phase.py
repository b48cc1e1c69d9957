"""An index of releases by phase: who looks for releases under way does not read the ended ones."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
NAME = "perennial_release_phase"


def upgrade() -> None:
    op.create_index(NAME, "perennial_release", ["phase", "model"], if_not_exists=True)


def downgrade() -> None:
    op.drop_index(NAME, "perennial_release", if_exists=True)
