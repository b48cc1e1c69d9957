"""The manifest of a served model: `manifest.json` beside `model.onnx`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from perennial.core.input_spec import InputSpec, columns_of
from perennial.core.training.explanation import Background, ServedExplanation
from perennial.core.training.manifest_format import with_task
from perennial.errors import ModelFileError
from perennial.serving.signed_files import TrustedKeys, read_signed

if TYPE_CHECKING:
    from perennial.core.tasks import Task

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
SEAL_FILE = "seal.json"
"""Written by the gate beside the files of a version, not one of them."""


class ServedManifest(BaseModel):
    """The fields of the manifest that serving needs; training writes further fields."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1, 2]
    model: str
    capsule: str
    input: str
    output: str
    feature_service: str | None = Field(description="null: the model is served by tensor only")
    entities: tuple[str, ...]
    request: dict[str, Literal["int", "float", "string", "timestamp"]]
    features: tuple[str, ...] = Field(min_length=1)
    columns: tuple[str, ...] = Field(
        (), description="view:feature of each feature that a feature service answers"
    )
    inputs: dict[str, InputSpec] = Field(
        default_factory=dict,
        description="type of each feature that the caller sends or that is no plain number",
    )
    task_keys: dict[str, Any] = Field(alias="task", description="kind of task with its keys")
    explanation: ServedExplanation | None = Field(None, description="null: scores are not explained")
    provider: str | None = Field(None, description="execution provider that alone may run it; null: any")

    @model_validator(mode="after")
    def inputs_are_the_features(self) -> Self:
        names, features = set(columns_of(self.inputs)), set(self.features)
        if not names <= features or (names and self.feature_service is None and names != features):
            raise ValueError("`inputs` and `features` name different columns")
        return self

    @property
    def sent(self) -> tuple[str, ...]:
        """Return the typed inputs that the caller sends besides the entities, of a model with a feature service."""
        stored = {column.partition(":")[2] for column in self.columns}
        return tuple(name for name in self.inputs if name not in stored)

    @model_validator(mode="before")
    @classmethod
    def of_any_format(cls, content: Any) -> Any:
        return with_task(content)

    @cached_property
    def task(self) -> Task:
        """Return the kind of task. Its module needs NumPy, which a rollback does not wait for.

        Raises:
            ModelFileError: the kind is not known here, or its keys are wrong.
        """
        from perennial.core.tasks import TASK

        try:
            return TASK.validate_python(self.task_keys)
        except ValidationError as error:
            raise ModelFileError(
                f"{self.model}: the task of its manifest cannot be read: {error}",
                hint="the version needs a newer perennial, or train it again",
            ) from error

    @property
    def files(self) -> tuple[str, ...]:
        """Return the names of the files that a server needs."""
        more = () if self.explanation is None else (self.explanation.background,)
        return (MODEL_FILE, MANIFEST_FILE, *more)


EXAMPLES: dict[str, object] = {"int": 0, "float": 0.0, "string": "", "timestamp": 0.0}


def example_columns(manifest: ServedManifest) -> dict[str, list[object]]:
    """Return a row of the right shape with entities that do not exist, by name."""
    keys = {name: ["perennial-probe"] for name in manifest.entities}
    return {**keys, **{name: [EXAMPLES[kind]] for name, kind in manifest.request.items()}}


@dataclass(frozen=True)
class VerifiedFiles:
    """The files of a version as they were checked; nothing is read from the disk again."""

    manifest: ServedManifest
    contents: Mapping[str, bytes]

    @property
    def background(self) -> Background | None:
        """Return the background rows of the explanations; None when the version has none.

        Raises:
            ModelFileError: the file has another form.
        """
        if self.manifest.explanation is None:
            return None
        name = self.manifest.explanation.background
        try:
            return Background.model_validate_json(self.contents[name])
        except (KeyError, ValidationError) as error:
            raise ModelFileError(f"{name} is not a valid background: {error}", hint="train again") from error


def load_verified(
    folder: Path, model: str, digest: str, trusted: TrustedKeys, ignored: Collection[str] = ()
) -> VerifiedFiles:
    """Read the files of a version, checked against their signed list.

    Args:
        digest: of the version.
        ignored: names of files that may lie beside the signed ones.

    Raises:
        NotSigned: the files are not exactly those that a trusted key signed under this digest.
        ModelFileError: the manifest has another form.
    """
    contents = read_signed(folder, model, digest, trusted, ignored)
    manifest = _manifest(folder, model, contents)
    if not set(manifest.files) <= set(contents):
        raise ModelFileError(
            f"{model}: {folder / MANIFEST_FILE} needs {', '.join(manifest.files)}; signed are {', '.join(contents)}",
            hint="train and register the version again",
        )
    return VerifiedFiles(manifest, contents)


def load_manifest(folder: Path, model: str, digest: str, trusted: TrustedKeys) -> ServedManifest:
    """Read the manifest of a version, checked against its signed list; the other files are not read.

    Raises:
        NotSigned, ModelFileError: as `load_verified`.
    """
    return _manifest(folder, model, read_signed(folder, model, digest, trusted, only=(MANIFEST_FILE,)))


def _manifest(folder: Path, model: str, contents: Mapping[str, bytes]) -> ServedManifest:
    path = folder / MANIFEST_FILE
    try:
        manifest = ServedManifest.model_validate_json(contents[MANIFEST_FILE])
    except KeyError as error:
        raise ModelFileError(f"{model}: {path} is not on the signed list", hint="train again") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelFileError(
            f"{model}: {path}: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            hint="train and register the version again",
        ) from error
    if manifest.model != model:
        raise ModelFileError(
            f"{model}: {path} is of {manifest.model}", hint="train and register the version again"
        )
    return manifest
