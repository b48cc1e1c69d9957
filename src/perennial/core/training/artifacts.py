"""Results of a training: its trials, the manifest beside the model file, and the record for the next steps."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from perennial.core.assets import Reason
from perennial.core.frozen import Frozen
from perennial.core.input_spec import InputSpec
from perennial.core.tasks import AnyTask
from perennial.core.training.explanation import ServedExplanation
from perennial.core.training.manifest_format import with_task

ParameterValue = str | int | float | bool


class ModelManifest(Frozen):
    """Everything that a server needs to serve `model.onnx` without the spec and without torch."""

    format: int = Field(
        2, description="format of this file; 1 has a threshold in place of the task: a ranking"
    )
    model: str
    capsule: str
    input: str = Field("features", description="float32 [batch, features], NaN for an unknown value")
    output: str = Field(description="name of the output: float32 [batch] or [batch, k], as the task says")
    feature_service: str | None = Field(description="null: the caller sends the inputs")
    entities: tuple[str, ...]
    request: dict[str, str]
    features: tuple[str, ...] = Field(description="names in input order")
    columns: tuple[str, ...] = Field(description="view:feature in input order; empty without a service")
    inputs: dict[str, InputSpec] = Field(
        default_factory=dict,
        description="type of each feature that the caller sends; `features` has the order",
    )
    target: str
    task: AnyTask
    architecture: str
    framework: str
    parameters: int = Field(description="trainable parameters")
    bytes: int = Field(description="size of model.onnx")
    reference: str = Field("reference.parquet", description="file of holdout rows with scores and labels")
    explanation: ServedExplanation | None = Field(None, description="null: no explanations")
    provider: str | None = Field(
        None,
        description="execution provider that alone may run it",
        exclude_if=lambda provider: provider is None,  # the manifest of other versions stays as it was
    )

    @model_validator(mode="before")
    @classmethod
    def of_any_format(cls, content: Any) -> Any:
        return with_task(content)


class Trained(Frozen):
    """Record of a training run."""

    model: str
    run_id: str
    model_uri: str
    digest: str = Field(description="SHA-256 of the signed list of files (hex)")
    capsule: str
    revision: str = Field(description="revision of the data")
    rows: str = Field(description="SHA-256 of features.parquet, the joined rows")
    source: str = Field(description="name of the data's source")
    code: str
    features_hash: str
    spec: str = Field(description="digest of the spec")
    architecture: str
    holdout_from: int = Field(description="first group of the holdout")
    groups: int = Field(description="distinct groups in training and holdout")
    parameters: dict[str, ParameterValue]
    epochs: int = Field(description="epochs of the final fit")
    trials: int
    pruned: int
    parity: float = Field(description="largest score difference of exported and trained model")
    parity_share: float = Field(
        description="share of the rows that differ by more than the gate allows a row"
    )
    reason: Reason
    reason_text: str
    seconds: float


class Trial(Frozen):
    """A training with a set of parameters."""

    number: int = Field(ge=0)
    parameters: dict[str, ParameterValue]
    value: float | None = Field(description="objective at the kept epoch; None if pruned or failed")
    curve: tuple[float, ...] = Field((), description="objective after each epoch")
    pruned: bool = False
    failed: bool = Field(False, description="ended by an error or a kill")
