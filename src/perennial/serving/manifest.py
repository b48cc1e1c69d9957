"""The manifest of a served model: `manifest.json` beside `model.onnx`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from perennial.core.training.explanation import Background, ServedExplanation
from perennial.errors import ModelFileError
from perennial.files import sha256

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"


class ServedManifest(BaseModel):
    """The fields of the manifest that serving needs; training writes further fields."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: Literal[1]
    model: str
    digest: str
    capsule: str
    input: str
    output: str
    feature_service: str | None = Field(description="null: the model is served by tensor only")
    entities: tuple[str, ...]
    request: dict[str, Literal["int", "float", "string", "timestamp"]]
    features: tuple[str, ...] = Field(min_length=1)
    threshold: float = Field(ge=0, le=1)
    explanation: ServedExplanation | None = Field(None, description="null: scores are not explained")

    @property
    def files(self) -> tuple[str, ...]:
        """Return the names of the files that a server needs."""
        more = () if self.explanation is None else (self.explanation.background,)
        return (MODEL_FILE, MANIFEST_FILE, *more)


EXAMPLES: dict[str, object] = {"int": 0, "float": 0.0, "string": "", "timestamp": 0.0}


def example_row(manifest: ServedManifest) -> dict[str, object]:
    """Return a row of the right shape with entities that do not exist."""
    keys = dict.fromkeys(manifest.entities, "perennial-probe")
    return {**keys, **{name: EXAMPLES[kind] for name, kind in manifest.request.items()}}


def load_verified(folder: Path, model: str, digest: str) -> ServedManifest:
    """Read the manifest of a version and verify the SHA-256 of its files.

    Raises:
        ModelFileError: a file is missing, unreadable or has another digest.
    """
    path = folder / MANIFEST_FILE
    try:
        manifest = ServedManifest.model_validate_json(path.read_bytes())
        actual = sha256(folder / MODEL_FILE)
        if manifest.explanation is not None:
            _verify_background(folder, manifest.explanation)
    except OSError as error:
        raise ModelFileError(
            f"{model}: cannot read {error.filename}: {error.strerror}", hint="load the version again"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        raise ModelFileError(
            f"{model}: {path}: {'.'.join(map(str, first['loc']))}: {first['msg']}",
            hint="train and register the version again",
        ) from error
    if actual != digest or manifest.digest != digest or manifest.model != model:
        raise ModelFileError(
            f"{model}: {folder / MODEL_FILE} has digest {actual}, its manifest names {manifest.model} "
            f"{manifest.digest}, expected is {digest}",
            hint="the file was changed or truncated; load the version again",
        )
    return manifest


def read_background(folder: Path, explanation: ServedExplanation) -> Background:
    """Read the background rows of a verified folder.

    Raises:
        ModelFileError: the file is unreadable or has another form.
    """
    path = folder / explanation.background
    try:
        return Background.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelFileError(
            f"{path} is not a valid background: {error}", hint="load the version again"
        ) from error


def _verify_background(folder: Path, explanation: ServedExplanation) -> None:
    path = folder / explanation.background
    if path.parent != folder or sha256(path) != explanation.background_digest:
        raise ModelFileError(
            f"{path} is not the file that the manifest names",
            hint="the file was changed or truncated; load the version again",
        )
