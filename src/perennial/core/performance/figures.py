"""The figures of a performance report, as they stand in its JSON."""

from __future__ import annotations

from enum import StrEnum

from pydantic import AwareDatetime, Field

from perennial.core.evaluation.fairness import Gap
from perennial.core.evaluation.metrics import Estimate
from perennial.core.frozen import Frozen
from perennial.core.gate_spec import GroupMeasure


class PeriodFigures(Frozen):
    """Answers of a model in a period; shadow answers do not count."""

    begin: AwareDatetime
    end: AwareDatetime
    predictions: int = Field(ge=0)
    requests: int = Field(ge=0)
    clients: int = Field(ge=0, description="pseudonyms of addresses")
    labelled: int = Field(ge=0, description="predictions with a label that counts")
    right: Estimate | None = Field(None, description="share of right answers; None: no labels")
    loss: Estimate | None = Field(None, description="mean loss; None: no labels, or a kind without a loss")
    mean_score: float | None = None
    latency_ms: dict[str, float] = Field(default_factory=dict, description="p50, p95, p99 of the requests")
    unknown_share: float | None = Field(None, description="predictions without any known feature")
    business: dict[str, float | None] = Field(default_factory=dict, description="by name; None: no value")


class FairnessFigures(Frozen):
    """Gap of a measure between the groups of a column, in a part of the time."""

    begin: AwareDatetime
    end: AwareDatetime
    column: str
    measure: GroupMeasure
    groups: dict[str, float] = Field(description="group -> value of the measure")
    gap: Gap


class Direction(StrEnum):
    """Direction of a trend, as far as it is proven."""

    RISING = "rising"
    FALLING = "falling"
    NOT_PROVEN = "not proven"


class Trend(Frozen):
    """Change of a figure over the periods."""

    figure: str
    per_day: Estimate = Field(description="slope by Theil and Sen, 95 % interval")
    periods: int
    direction: Direction


class SliceFigures(Frozen):
    """Answers with one value, or of one range, of a column."""

    column: str
    value: str
    predictions: int
    labelled: int
    right: Estimate | None
    below_rest: Estimate | None = Field(
        None, description="share of right answers minus that of all others, bounds for all slices together"
    )

    @property
    def is_proven_worse(self) -> bool:
        return self.below_rest is not None and self.below_rest.high < 0


class Anomaly(Frozen):
    """A period whose figures are unlike those of the others."""

    begin: AwareDatetime
    score: float = Field(description="of the isolation forest: 0.5 is ordinary, 1 is alone")
    figures: dict[str, float] = Field(description="the figures that are farthest off, in robust deviations")


class VersionUse(Frozen):
    """A version that answered in the time of the report."""

    version: str
    digest: str
    first: AwareDatetime
    last: AwareDatetime
    predictions: int
    labelled: int
    right: Estimate | None = None


class PoolTraffic(Frozen):
    """Counters of the router since its start."""

    pool: str
    requests: int
    errors: int = Field(description="5xx and broken connections")
    refused: int = Field(description="4xx: faults of requests")
    p95_ms: float | None


class Recommendation(Frozen):
    """Advice with the evidence for it."""

    text: str
    evidence: str
