"""How long files are kept that nothing needs any more, a part of the settings."""

from __future__ import annotations

from pydantic import BaseModel, Field


class RetentionSettings(BaseModel):
    """A field per variable; `Settings` reads them from the environment."""

    keep_served_days: int = Field(
        90, ge=1, description="days that served files stay after their version was last used"
    )
    keep_logs_days: int = Field(30, ge=1, description="days that logs of tasks and rotated logs stay")
    keep_work_days: int = Field(
        14, ge=1, description="days that work folders and unfinished batches stay after their last change"
    )
    log_local_days: int | None = Field(
        None, ge=1, description="days that uploaded segments of the log stay here, too; all by default"
    )
    keep_reports_days: int = Field(365, ge=1, description="days that reports stay")
    prune_daily: bool = Field(
        False, description="Airflow's DAG `prune` deletes each day what it finds; else it only says it"
    )
