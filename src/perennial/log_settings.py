"""Where the prediction log is kept, a part of the settings."""

from __future__ import annotations

from pydantic import BaseModel, Field


class LogSettings(BaseModel):
    """A field per variable; `Settings` reads them from the environment."""

    log_bucket: str | None = Field(
        None,
        pattern=r"^s3://[a-z0-9][a-z0-9.-]+(/[A-Za-z0-9._=-]+)*$",
        description="object storage for sealed segments, as s3://bucket/folder; keys are not part of it",
    )
    log_local_days: int | None = Field(
        None, ge=1, description="days that uploaded segments stay here, too; all by default"
    )
