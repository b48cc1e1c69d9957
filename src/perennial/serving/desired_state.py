"""The desired state of a pool: which versions each of its servers holds. One JSON file per pool."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, ValidationError

from perennial.core.frozen import Frozen
from perennial.core.version import VersionRef
from perennial.errors import ModelFileError


class DesiredVersion(Frozen):
    """One version that a server of the pool should hold."""

    model: str
    version: str
    key: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of model.onnx (hex)")
    capsule: str
    release_id: str | None = None

    @classmethod
    def of(cls, ref: VersionRef) -> DesiredVersion:
        return cls(**ref.model_dump())


class DesiredState(Frozen):
    """Every write raises `generation` by one, so that a reader can tell what a server has seen."""

    generation: int = Field(0, ge=0)
    models: tuple[DesiredVersion, ...] = ()

    def with_version(self, wanted: DesiredVersion) -> DesiredState:
        """The same state when the version is in it already."""
        others = tuple(one for one in self.models if (one.model, one.digest) != (wanted.model, wanted.digest))
        if wanted in self.models:
            return self
        return DesiredState(generation=self.generation + 1, models=(*others, wanted))

    def without(self, model: str, digest: str) -> DesiredState:
        """The same state when the version is not in it."""
        kept = tuple(one for one in self.models if (one.model, one.digest) != (model, digest))
        if len(kept) == len(self.models):
            return self
        return DesiredState(generation=self.generation + 1, models=kept)


def state_file(serving_dir: Path, pool: str) -> Path:
    return serving_dir / "pools" / f"{pool}.json"


def version_folder(serving_dir: Path, digest: str) -> Path:
    """Where the files of a version lie: model.onnx, manifest.json."""
    return serving_dir / "store" / digest


def read(path: Path) -> DesiredState:
    """The state in the file; an absent file is the empty state.

    Raises:
        ModelFileError: the file is not a desired state.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return DesiredState()
    except OSError as error:
        raise ModelFileError(
            f"cannot read {path}: {error.strerror}", hint="is the folder readable?"
        ) from error
    try:
        return DesiredState.model_validate_json(text)
    except ValidationError as error:
        raise ModelFileError(
            f"{path} is not a desired state: {error.errors()[0]['msg']}",
            hint="the release machine writes it; remove it and reconcile the release again",
        ) from error


def write(path: Path, state: DesiredState) -> None:
    """Replace the file in one step: a reader sees the old state or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(state.model_dump_json(indent=2) + "\n")
    os.replace(temporary, path)
