"""The parts of the model spec that a release applies (`approval`, `release` in the YAML)."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, PositiveInt, model_validator

from perennial.core.frozen import Frozen, Share

Approvers = Annotated[int, Field(ge=0, le=10)]


class ApprovalSpec(Frozen):
    """Number of people who must approve a candidate, by risk; nobody who asked for it counts."""

    low_risk: Approvers = Field(description="0: the policy itself approves")
    medium_risk: Approvers
    high_risk: Approvers
    lapses_after: timedelta = Field(description="validity of an approval")
    anonymous_tag: bool = Field(
        description="also count a tag `approval` that MLflow's server does not attribute to an account"
    )

    @model_validator(mode="after")
    def rising(self) -> Self:
        if not self.low_risk <= self.medium_risk <= self.high_risk:
            raise ValueError("low_risk <= medium_risk <= high_risk must hold")
        return self

    @model_validator(mode="after")
    def people_told_apart(self) -> Self:
        if self.anonymous_tag and self.high_risk > 1:
            raise ValueError("anonymous_tag cannot tell several people apart: it needs high_risk <= 1")
        return self


class StepSpec(Frozen):
    """Canary step: percent of the requests, and duration."""

    weight: Annotated[float, Field(gt=0, le=100)]
    duration: timedelta


class CriteriaSpec(Frozen):
    """Limits by which a candidate with traffic is judged good, bad or not yet known."""

    min_requests: PositiveInt = Field(description="a step with fewer requests to the candidate is UNSURE")
    error_rate_max: Share = Field(description="absolute limit")
    error_rate_increase: Share = Field(description="above the champion's in the same step")
    latency_p95_ratio: float = Field(gt=1, description="candidate / champion in the same step")
    latency_p95_floor_ms: float = Field(ge=0, description="below this latency no ratio fails")
    accuracy_drop: Share = Field(description="champion minus candidate, on labelled requests")
    loss_increase: float = Field(
        0.2,
        gt=0,
        description="of the mean absolute error, as a part of the champion's; for answers that are numbers",
    )
    min_labels: PositiveInt = Field(description="with fewer labels of either version accuracy is not judged")
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    max_errors_in_a_row: PositiveInt = Field(description="error budget: failed measurements in a row")


class Strategy(StrEnum):
    """Way of a candidate from no traffic to all traffic; `perennial.core.release.plan` has the steps of each."""

    CANARY = "canary"
    BLUE_GREEN = "blue_green"
    SHADOW_ONLY = "shadow_only"
    AB = "ab"
    ROLLING = "rolling"
    IMMEDIATE = "immediate"


class SplitSpec(Frozen):
    """Fixed split of an A/B release."""

    weight: Annotated[float, Field(gt=0, lt=100)] = Field(description="percent of requests to the candidate")
    sample: PositiveInt = Field(description="answers of each version that end it early")
    duration: timedelta = Field(description="longest duration, whether the sample is complete or not")
    mismatch: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="chance of a false alarm, over all looks, of the sample ratio test"
    )


class StickySpec(Frozen):
    """User key of sticky assignment to a variant; without header and cookie each request is drawn anew."""

    header: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] | None = Field(
        description="request header with the user"
    )
    cookie: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+$")] | None = Field(
        description="cookie with the user, used where the header is missing; set where it is missing, too"
    )
    cookie_age: timedelta = Field(ge=timedelta(seconds=1))
    experiment: Annotated[str, Field(pattern=r"^[\w.-]{1,64}$")] | None = Field(
        description="salt of the assignment; null: the release id, so that each release assigns anew"
    )


class FeedbackSpec(Frozen):
    """Whose labels and rewards count, and for how much."""

    sole_source: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")] | None = Field(
        None, description="the source that may decide alone; where it has labels, no other source counts"
    )
    source_share: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.5, description="any other source counts for at most this share of the labels"
    )
    reviews: bool = Field(
        False,
        description="whether the right value in a review of a person (`modify`) counts as a label of its source",
        exclude_if=lambda reviews: not reviews,  # the digest of specs without the key stays
    )
    group: Annotated[str, Field(min_length=1)] | None = Field(
        None,
        description="request value, key of the entity or feature whose requests are right or wrong together, such as "
        "a CI cycle; null: only users and slices of time are told apart",
        exclude_if=lambda group: group is None,  # the digest of specs without the key stays
    )


class ReleaseSpec(Frozen):
    """Policy of a release. A strategy reads the keys that it needs and ignores the others."""

    strategy: Strategy
    shadow: timedelta | None = Field(
        description="duration of a shadow before the first share; null: no shadow"
    )
    steps: tuple[StepSpec, ...] = Field(min_length=1, description="canary")
    hold: timedelta = Field(
        description="blue_green: time with the old version warm; rolling: time per server"
    )
    ab: SplitSpec
    sticky: StickySpec = Field(description="assignment in every split: canary, ab and rolling")
    criteria: CriteriaSpec
    feedback: FeedbackSpec = Field(default_factory=FeedbackSpec)
    unsure_after: timedelta = Field(description="time after a step's end until a person is asked, if UNSURE")
    keep_previous: bool = Field(description="keep the previous champion warm in the stable pool")

    @model_validator(mode="after")
    def rising(self) -> Self:
        weights = [step.weight for step in self.steps]
        if weights != sorted(set(weights)):
            raise ValueError(f"steps must rise strictly: {weights}")
        if weights[-1] == 100:
            raise ValueError("100 % is the promotion that follows the last step: leave it out")
        return self

    @model_validator(mode="after")
    def mirrors_something(self) -> Self:
        if self.strategy is Strategy.SHADOW_ONLY and self.shadow is None:
            raise ValueError("shadow_only needs a time in `shadow`")
        return self
