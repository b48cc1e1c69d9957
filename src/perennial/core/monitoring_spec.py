"""The parts of the model spec that monitoring and retraining apply (`monitoring`, `retraining` in the YAML)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from perennial.core.frozen import Frozen, Share


class Levels(Frozen):
    """Values from which a figure calls for a watch, a warning, a retraining."""

    watch: float = Field(gt=0)
    warn: float = Field(gt=0)
    retrain: float = Field(gt=0)

    @model_validator(mode="after")
    def rising(self) -> Self:
        if not self.watch < self.warn < self.retrain:
            raise ValueError("watch < warn < retrain must hold")
        return self


class ShareLevels(Frozen):
    """Shares of the traffic at which a watch or a warning begins; never a retraining."""

    watch: Share
    warn: Share


class MonitoringSpec(Frozen):
    """Windows, watched features and levels of the monitor."""

    window: PositiveInt = Field(description="predictions in one window")
    min_window: PositiveInt = Field(description="fewer predictions: no verdict")
    min_requests: PositiveInt = Field(20, description="fewer requests in the window: no verdict")
    request_rows: PositiveInt = Field(50, description="most predictions of a request in the window")
    client_share: Annotated[float, Field(gt=0, le=1)] = Field(
        0.5, description="most predictions of a client, as a share of the window"
    )
    unknown_share: ShareLevels = Field(
        ShareLevels(watch=0.2, warn=0.5), description="predictions without any known feature"
    )
    refused_share: ShareLevels = Field(
        ShareLevels(watch=0.2, warn=0.5), description="requests that were refused (4xx)"
    )
    every: timedelta
    bins: Annotated[int, Field(ge=3, le=50)]
    columns: tuple[str, ...] = Field(min_length=1, description="features watched for drift")
    psi: Levels
    accuracy_drop_percent: Levels
    features_needed: PositiveInt = Field(description="features that must reach a level together")
    min_labels: PositiveInt


class RetrainingSpec(Frozen):
    """Schedule and limits of retraining."""

    schedule: str = Field(description="cron expression")
    cooldown: timedelta
    max_alarms_per_week: PositiveInt
