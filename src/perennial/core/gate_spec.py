"""The part of the model spec that the gate applies (`gate` in the YAML)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from perennial.core.frozen import Frozen, Share


class Bound(Frozen):
    """Closed range of a metric; at least one side is given."""

    min: float | None = None
    max: float | None = None

    @model_validator(mode="after")
    def has_a_side(self) -> Self:
        if self.min is None and self.max is None:
            raise ValueError("give min, max or both")
        return self


class ImprovementSpec(Frozen):
    """Required improvement over the champion."""

    metric: str
    min_delta: float = Field(description="candidate minus champion on the same holdout")


class ChecksSpec(Frozen):
    """Robustness that a candidate must have, measured on its reference rows."""

    noise: float = Field(gt=0, description="standard deviations of each feature, added at random")
    noise_change: Share = Field(description="mean absolute change of the score that noise may cause")
    missing: Share = Field(description="chance of each value to be missing")
    missing_change: Share = Field(description="mean absolute change of the score that holes may cause")


class GroupMeasure(StrEnum):
    """Measure compared between the groups of a column: a share of the group's rows."""

    ERROR_RATE = "error_rate"
    SELECTION_RATE = "selection_rate"
    FALSE_POSITIVE_RATE = "false_positive_rate"
    FALSE_NEGATIVE_RATE = "false_negative_rate"


class FairnessSpec(Frozen):
    """Largest differences between the groups of a sensitive column."""

    gaps: dict[GroupMeasure, Share] = Field(
        min_length=1, description="measure -> largest difference between any two groups"
    )
    min_groups: PositiveInt = Field(
        description="a group with rows from fewer cycles (evaluation.group) is not judged"
    )


class LicencesSpec(Frozen):
    """Allowed licences of data and packages."""

    allowed: tuple[str, ...] = Field(min_length=1, description="SPDX identifiers")
    stated: dict[str, str] = Field(
        description="package -> SPDX expression read by a person, where its metadata has none"
    )


class ReproductionSpec(Frozen):
    """Required result of a training from a version's capsule (`perennial reproduce`)."""

    evidence: Literal["optional", "required"] = Field(
        description="required: a candidate gets no traffic until it was reproduced"
    )
    tolerance: dict[str, Annotated[float, Field(ge=0)]] = Field(
        min_length=1, description="metric on the holdout -> largest difference where the digest differs"
    )


class ParitySpec(Frozen):
    """Largest difference between the answers of the trained and the exported model.

    A row agrees when its change (`Task.change`) is at most `absolute` + `relative` x the size of the trained answer, in
    the unit of a change. In YAML a plain number is `absolute` alone.
    """

    absolute: Annotated[float, Field(gt=0)]
    relative: Annotated[float, Field(ge=0)] = 0.0
    share: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="share of the rows that may differ: thresholds of trees become float32"
    )

    @property
    def is_absolute(self) -> bool:
        return not self.relative and not self.share

    @model_validator(mode="before")
    @classmethod
    def of_a_number(cls, content: Any) -> Any:
        is_number = isinstance(content, int | float) and not isinstance(content, bool)
        return {"absolute": content} if is_number else content

    def __str__(self) -> str:
        bound = f"{self.absolute:g}" + (f" + {self.relative:g} x answer" if self.relative else "")
        return bound + (f" on all but {self.share:.2%} of the rows" if self.share else "")


class VariantsSpec(Frozen):
    """Non-inferiority that a variant of a version must show to its parent (`perennial optimise`).

    Both are compared on the holdout of the parent's training; the bound of the 95 % interval counts.
    """

    agreement: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="least share of the rows on which both answer alike (`Task.differs`)"
    )
    quality_drop: Annotated[float, Field(ge=0)] = Field(
        description="largest loss of `improvement.metric`, in its unit"
    )


class GateSpec(Frozen):
    """Rules of the gate."""

    metrics: dict[str, Bound] = Field(min_length=1)
    improvement: ImprovementSpec
    latency_p95_ms: float = Field(gt=0, description="p95 at a model server, without other load")
    parity: ParitySpec = Field(description="largest difference between exported and trained model")
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
    variants: VariantsSpec | None = Field(
        None,
        description="null: no variants are made",
        exclude_if=lambda variants: variants is None,  # the digest of specs without the key stays
    )
