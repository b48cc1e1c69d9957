"""The model spec: the whole policy of a model as frozen values. Unknown keys are an error."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from perennial.core.explanation_spec import ExplanationSpec
from perennial.core.frozen import Frozen, Share
from perennial.core.gate_spec import GateSpec
from perennial.core.monitoring_spec import MonitoringSpec, RetrainingSpec
from perennial.core.tasks import AnyTask

Approvers = Annotated[int, Field(ge=0, le=10)]


class DataSpec(Frozen):
    """Source of the training examples."""

    history: str = Field(description="name of the CI history that feeds this model")
    prepare: str = Field(description="module:function that makes feature tables and examples")
    expectations: dict[str, str] = Field(
        description="table (history, features, ...) -> suite file under configs/expectations"
    )
    sensitive: tuple[str, ...] = ()


class FeatureSpec(Frozen):
    """Inputs of the model, in order."""

    service: str = Field(description="name of the Feast FeatureService")
    entities: tuple[str, ...] = Field(
        min_length=1, description="join keys; the first identifies the scored item"
    )
    columns: tuple[str, ...] = Field(min_length=1, description="view:feature, in input order")
    request: dict[str, Literal["int", "float", "string", "timestamp"]] = Field(
        default_factory=dict, description="values that the caller sends with a prediction"
    )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(column.split(":", 1)[1] for column in self.columns)


class TargetSpec(Frozen):
    """Label to predict."""

    column: str


class EvaluationSpec(Frozen):
    """Split, metrics and baselines of the evaluation."""

    train_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="share of the first groups that trains; the later ones are the holdout"
    )
    retrain_train_fraction: Annotated[float, Field(gt=0, lt=1)] = Field(
        description="the same when a champion exists: a retrained model must have seen the recent past"
    )
    group: str = Field(
        description="integer example column: rows of a group (a CI cycle) are ranked "
        "together, ordered in time, split and resampled as a whole"
    )
    bootstrap: PositiveInt = Field(description="resamples of whole groups")
    slices: tuple[str, ...] = Field((), description="example columns whose values are reported apart")
    slice_min_rows: PositiveInt = Field(description="smaller slices are left out")
    baselines: dict[str, str] = Field(
        default_factory=dict,
        description="rankings without learning: name -> feature that serves as the score",
    )


class TuningSpec(Frozen):
    """Budget of the hyperparameter search."""

    trials: PositiveInt
    epochs: PositiveInt
    seed: int
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)]
    timeout: timedelta


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


class RetentionSpec(Frozen):
    """Retention of model files."""

    archived_files: timedelta = Field(
        ge=timedelta(0), description="least time that the model files of an archived version are kept"
    )


class ModelSpec(Frozen):
    """Spec of a model. Source: `configs/models/<name>.yaml`."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,62}$")]
    description: str
    owner: str
    task: AnyTask
    entrypoint: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")]
    data: DataSpec
    features: FeatureSpec
    target: TargetSpec
    evaluation: EvaluationSpec
    tuning: TuningSpec
    gate: GateSpec
    approval: ApprovalSpec
    release: ReleaseSpec
    monitoring: MonitoringSpec
    retraining: RetrainingSpec
    retention: RetentionSpec
    explanation: ExplanationSpec | None = Field(description="null: answers are not explained")

    @model_validator(mode="after")
    def fits_the_task(self) -> Self:
        """Refuse what the kind of task does not have."""
        kind, known, gate = self.task.kind, self.task.metrics, self.gate
        named = {
            "gate.metrics": tuple(gate.metrics),
            "gate.improvement.metric": (gate.improvement.metric,),
            "gate.reproduction.tolerance": tuple(gate.reproduction.tolerance),
        }
        for place, names in named.items():
            if unknown := [name for name in names if name not in known]:
                raise ValueError(
                    f"{place}: {kind} has no metric {', '.join(unknown)}; it has {', '.join(known)}"
                )
        if not known[gate.improvement.metric].required:
            raise ValueError(
                f"gate.improvement.metric: {gate.improvement.metric} may be undefined on few rows: name another"
            )
        if unfit := sorted({measure.value for measure in gate.fairness.gaps} - self.task.fairness):
            measures = ", ".join(sorted(self.task.fairness))
            raise ValueError(f"gate.fairness.gaps: {kind} has no {', '.join(unfit)}; it has {measures}")
        if not self.task.one_number:
            numbers = {
                "explanation": self.explanation,
                "gate.behaviour": gate.behaviour,
                "evaluation.baselines": self.evaluation.baselines,
            }
            if unfit := [place for place, value in numbers.items() if value]:
                raise ValueError(
                    f"{', '.join(unfit)}: {kind} answers no single number per row: leave it empty (null)"
                )
        return self

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the canonical JSON of the whole spec."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()
