"""Service level objectives of a model (`slo` in the YAML)."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from pydantic import Field

from perennial.core.frozen import Frozen

Objective = Annotated[float, Field(ge=0.94, lt=1)]
"""Share of good requests. Below 0.94 the fastest burn rate (`burn_rates`) would need more bad requests than all."""


class SloSpec(Frozen):
    """Promises to the callers of a model, over 30 days."""

    availability: Objective = Field(0.999, description="share of requests that do not end in a 5xx")
    latency: Objective = Field(0.95, description="share of requests that are answered within latency_ms")
    latency_ms: Annotated[float, Field(gt=0, le=30_000)] = Field(
        250, description="whole requests at Envoy, retries included; one of Envoy's bounds"
    )
    features_age: timedelta | None = Field(
        timedelta(days=8),
        gt=timedelta(0),
        description="longest time since the newest stored feature value; null: no promise",
    )
    labels_age: timedelta | None = Field(
        timedelta(days=14), gt=timedelta(0), description="longest time without a label; null: no promise"
    )
