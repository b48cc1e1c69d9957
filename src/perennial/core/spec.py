"""The model spec: the whole policy of a model as frozen values. Unknown keys are an error."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from perennial.core.alerting.slo_spec import SloSpec
from perennial.core.data_spec import DataSpec, RowsSpec
from perennial.core.explanation_spec import ExplanationSpec
from perennial.core.feature_spec import FeatureSpec
from perennial.core.frozen import Frozen
from perennial.core.gate_spec import GateSpec
from perennial.core.input_spec import by_name
from perennial.core.monitoring_spec import MonitoringSpec, RetrainingSpec
from perennial.core.recalibration.spec import RecalibrationSpec
from perennial.core.release_spec import ApprovalSpec, ReleaseSpec
from perennial.core.serving_spec import ServingSpec
from perennial.core.tasks import AnyTask
from perennial.core.tasks.windows import Windows
from perennial.core.training.templates import TEMPLATES
from perennial.errors import SpecError


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


AUTO = {
    "trials": 100,
    "epochs": 60,
    "seed": 7,
    "validation_fraction": 0.2,
    "timeout": "PT10M",
    "templates": "auto",
}
"""Keys that `tuning: auto` stands for."""


class TuningSpec(Frozen):
    """Budget of the hyperparameter search."""

    trials: PositiveInt
    epochs: PositiveInt
    seed: int
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)]
    timeout: timedelta
    templates: Literal["auto"] | tuple[str, ...] = Field(
        (), description="kinds of model that compete with the entrypoint; auto: each that is installed"
    )

    workers: PositiveInt = Field(
        1,
        description="processes that evaluate trials of the same search",
        exclude_if=lambda workers: workers == 1,  # the digest of specs without the key stays
    )
    shared: bool = Field(
        False,
        description="whether processes of other machines may take trials (`perennial tune join`)",
        exclude_if=lambda shared: not shared,  # the digest of specs without the key stays
    )

    @model_validator(mode="after")
    def shared_or_workers(self) -> Self:
        if self.shared and self.workers > 1:
            raise ValueError(
                "tuning.shared: leave tuning.workers out; each `perennial tune join` on this machine is a worker"
            )
        return self

    @model_validator(mode="before")
    @classmethod
    def of_auto(cls, content: Any) -> Any:
        return AUTO if content == "auto" else content

    @model_validator(mode="after")
    def templates_are_known(self) -> Self:
        if unknown := [name for name in self.templates if self.templates != "auto" and name not in TEMPLATES]:
            raise ValueError(f"no template is named {', '.join(unknown)}; templates: {', '.join(TEMPLATES)}")
        return self


class TrainingSpec(Frozen):
    """The fit of the final model."""

    workers: PositiveInt = Field(1, description="processes of one machine that fit the final model together")


class RetentionSpec(Frozen):
    """Retention of model files."""

    archived_files: timedelta = Field(
        ge=timedelta(0), description="least time that the model files of an archived version are kept"
    )
    predictions: timedelta | None = Field(
        None,
        gt=timedelta(0),
        description="least time that logged predictions are kept; null: for ever",
        exclude_if=lambda keep: keep is None,  # the digest of specs without the key stays
    )


OF_VARIANTS = {"task", "entrypoint", "data", "features", "target", "evaluation", "gate", "explanation"}


class ModelSpec(Frozen):
    """Spec of a model. Source: `configs/models/<name>.yaml`."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{1,62}$")]
    description: str
    owner: str
    task: AnyTask
    entrypoint: Annotated[str, Field(pattern=r"^[\w.]+:\w+$")] | None = Field(
        description="module:class of the model; null: nothing trains here, versions are imported"
    )
    data: DataSpec
    features: FeatureSpec
    target: TargetSpec
    evaluation: EvaluationSpec
    tuning: TuningSpec
    training: TrainingSpec = Field(
        default_factory=TrainingSpec,
        exclude_if=lambda training: training == TrainingSpec(),  # the digest of specs without the key stays
    )
    gate: GateSpec
    approval: ApprovalSpec
    release: ReleaseSpec
    monitoring: MonitoringSpec
    retraining: RetrainingSpec
    recalibration: RecalibrationSpec = Field(
        RecalibrationSpec(),
        exclude_if=lambda policy: policy == RecalibrationSpec(),  # the digest of specs without the key stays
        description="a new calibration for the trained weights, between trainings",
    )
    retention: RetentionSpec
    explanation: ExplanationSpec | None = Field(description="null: answers are not explained")
    serving: ServingSpec = Field(
        default_factory=ServingSpec,
        exclude_if=lambda serving: serving == ServingSpec(),  # the digest of specs without the key stays
    )
    slo: SloSpec = Field(
        default_factory=SloSpec,
        exclude_if=lambda slo: slo == SloSpec(),  # the digest of specs without the key stays
    )

    @model_validator(mode="after")
    def fits_the_task(self) -> Self:
        """Refuse what the kind of task does not have."""
        kind, known, gate = self.task.kind, self.task.metrics, self.gate
        if self.task != self.task.as_specified():
            raise ValueError(f"task: {kind} has keys that only a training may write: leave them out")
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
        if self.task.windows is not None:
            self._fits_the_windows(self.task.windows)
        if not self.task.one_number:
            numbers = {
                "gate.behaviour": gate.behaviour,
                "evaluation.baselines": self.evaluation.baselines,
            }
            if unfit := [place for place, value in numbers.items() if value]:
                raise ValueError(
                    f"{', '.join(unfit)}: {kind} answers no single number per row: leave it empty (null)"
                )
        return self

    def _fits_the_windows(self, windows: Windows) -> None:
        source = self.data.source
        if self.tuning.templates:
            raise ValueError(
                f"tuning.templates: those answer a row of a table, no {self.task.kind}: leave it out"
            )
        if not isinstance(source, RowsSpec) or not source.in_time or source.period is not None:
            raise ValueError(
                f"data.source: a {self.task.kind} needs rows with `time`, split: time or rolling, and period: null"
            )
        names = windows.names(several=source.group is not None)
        if self.features.source != "request" or self.features.names != names:
            raise ValueError(
                f"features.inputs: a {self.task.kind} of these keys has source: request and {', '.join(names)}"
            )

    @model_validator(mode="after")
    def predictions_wait_for_their_labels(self) -> Self:
        keep, delay = self.retention.predictions, self.monitoring.label_delay
        if keep is not None and delay is not None and keep < delay:
            raise ValueError(
                f"retention.predictions: predictions are deleted after {keep}, and their labels come up to {delay} "
                "later (monitoring.label_delay): keep them longer"
            )
        return self

    @model_validator(mode="after")
    def workers_have_a_model(self) -> Self:
        if self.training.workers > 1 and self.tuning.templates:
            raise ValueError(
                "training.workers: of tuning.templates one may win that is not trained by gradients: name an "
                "entrypoint alone, or leave training.workers out"
            )
        return self

    @model_validator(mode="after")
    def rows_have_the_time_of_their_features(self) -> Self:
        source = self.data.source
        if self.features.source == "store" and isinstance(source, RowsSpec) and source.period is None:
            raise ValueError(
                "features.source: store joins values as of the time of a row: data.source needs `time` (with times) "
                "and `period`"
            )
        return self

    @model_validator(mode="after")
    def enough_coalitions(self) -> Self:
        explained = len(by_name(self.features.inputs, self.features.names))
        least, explanation = 2 * explained, self.explanation
        if explanation is not None and explanation.coalitions < least:
            raise ValueError(
                f"explanation.coalitions: {explanation.coalitions} sets cannot explain {explained} "
                f"features: at least {least}, or explanation: null"
            )
        return self

    def trainable(self) -> str:
        """Return the entrypoint.

        Raises:
            SpecError: there is none, since the versions of this model are imported.
        """
        if self.entrypoint is None:
            raise SpecError(
                f"nothing trains {self.name} here: its versions are imported (entrypoint: null)",
                hint=f"perennial models import {self.name} FILE --data HOLDOUT --trained TEXT",
            )
        return self.entrypoint

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over the canonical JSON of the whole spec."""
        return _digest(self.model_dump(mode="json"))

    @property
    def variant_digest(self) -> str:
        """SHA-256 (hex) over the keys that the making of a variant and its gate read."""
        content = self.model_dump(mode="json", include=OF_VARIANTS)
        return _digest(content | self.tuning.model_dump(mode="json", include={"seed", "validation_fraction"}))


def _digest(content: dict[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
