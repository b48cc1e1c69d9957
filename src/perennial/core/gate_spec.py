"""The part of the model spec that the gate applies (`gate` in the YAML)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from perennial.core.frozen import Frozen, Share


class Bound(Frozen):
    """A closed range for one metric; at least one side."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def one_side(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        return self


class ImprovementSpec(Frozen):
    metric: str
    min_delta: float = Field(description="candidate minus champion on the same holdout")


class ChecksSpec(Frozen):
    """What a candidate must bear beyond being accurate, measured on its reference rows."""

    noise: float = Field(gt=0, description="standard deviations of each feature, added at random")
    noise_change: Share = Field(description="mean absolute change of the score that noise may cause")
    missing: Share = Field(description="chance of each value to be missing")
    missing_change: Share = Field(description="mean absolute change of the score that holes may cause")


class GroupMeasure(StrEnum):
    """What is compared between the groups of a column: shares of its rows."""

    ERROR_RATE = "error_rate"
    SELECTION_RATE = "selection_rate"
    FALSE_POSITIVE_RATE = "false_positive_rate"
    FALSE_NEGATIVE_RATE = "false_negative_rate"


class FairnessSpec(Frozen):
    """How far the groups of a sensitive column may lie apart."""

    gaps: dict[GroupMeasure, Share] = Field(
        min_length=1, description="measure -> largest minus smallest figure of any two groups"
    )
    min_groups: PositiveInt = Field(
        description="rows that come from fewer cycles (evaluation.group) say nothing"
    )


class LicencesSpec(Frozen):
    """Which licences data and packages may have."""

    allowed: tuple[str, ...] = Field(min_length=1, description="SPDX identifiers")
    stated: dict[str, str] = Field(
        description="package -> SPDX expression that a person has read, where its own metadata names none"
    )


class ReproductionSpec(Frozen):
    """What training again from a version's capsule must give (`perennial reproduce`)."""

    evidence: Literal["optional", "required"] = Field(
        description="required: a candidate that nobody has reproduced gets no traffic"
    )
    tolerance: dict[str, Annotated[float, Field(ge=0)]] = Field(
        min_length=1, description="metric on the holdout -> largest difference where the digest is another"
    )


class GateSpec(Frozen):
    metrics: dict[str, Bound] = Field(min_length=1)
    improvement: ImprovementSpec
    latency_p95_ms: float = Field(gt=0, description="at the endpoint, without other load")
    parity: float = Field(gt=0, description="largest difference of exported and trained model")
    slice_drop: float = Field(
        ge=0, description="drop of the improvement metric on a slice: UNSURE, high risk"
    )
    checks: ChecksSpec
    fairness: FairnessSpec
    licences: LicencesSpec
    reproduction: ReproductionSpec
    behaviour: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = Field(
        description="module:name of the behavioural cases; null for none"
    )
