"""The desired state of a pool: the versions that each of its servers must load. One JSON file per pool."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationError

from perennial.core.frozen import Frozen
from perennial.core.serving_spec import Load
from perennial.core.version import VersionRef
from perennial.errors import ModelFileError
from perennial.files import write_text


class DesiredVersion(Frozen):
    """A version that every server of the pool must hold."""

    model: str
    version: str
    key: str
    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of the signed list of files (hex)")
    capsule: str
    release_id: str | None = None
    load: Load = Field(
        Load.PINNED,
        exclude_if=lambda load: load is Load.PINNED,  # as states were before there was a choice
    )

    @property
    def identity(self) -> tuple[str, str]:
        """Return (model, digest)."""
        return self.model, self.digest

    @classmethod
    def of(cls, ref: VersionRef) -> DesiredVersion:
        return cls(**ref.model_dump())


class DesiredState(Frozen):
    """All versions of a pool. Each change increases `generation` by 1, so that a server can report what it has read."""

    generation: int = Field(0, ge=0)
    models: tuple[DesiredVersion, ...] = ()

    @cached_property
    def by_model(self) -> dict[str, tuple[DesiredVersion, ...]]:
        """Return model -> its versions."""
        versions: dict[str, tuple[DesiredVersion, ...]] = {}
        for wanted in self.models:
            versions[wanted.model] = (*versions.get(wanted.model, ()), wanted)
        return versions

    def load_of(self, model: str, digest: str) -> Load | None:
        """Return how a version is held; None: it is not held."""
        return next((wanted.load for wanted in self.by_model.get(model, ()) if wanted.digest == digest), None)

    def with_load(self, model: str, load: Load) -> DesiredState:
        """Return the state that holds the versions of the model like this; unchanged when it does."""
        if all(wanted.load is load for wanted in self.by_model.get(model, ())):
            return self
        models = tuple(
            wanted.model_copy(update={"load": load}) if wanted.model == model else wanted
            for wanted in self.models
        )
        return DesiredState(generation=self.generation + 1, models=models)

    def with_models(self, models: tuple[DesiredVersion, ...]) -> DesiredState:
        """Return the state with these versions only; unchanged when they are the same."""
        return self if models == self.models else DesiredState(generation=self.generation + 1, models=models)

    def with_version(self, wanted: DesiredVersion) -> DesiredState:
        """Return the state with the version; unchanged when it is already there."""
        if wanted in self.models:
            return self
        others = (version for version in self.models if version.identity != wanted.identity)
        return DesiredState(generation=self.generation + 1, models=(*others, wanted))

    def without(self, model: str, digest: str) -> DesiredState:
        """Return the state without the version; unchanged when it is not there."""
        kept = tuple(version for version in self.models if version.identity != (model, digest))
        if len(kept) == len(self.models):
            return self
        return DesiredState(generation=self.generation + 1, models=kept)


def state_file(serving_dir: Path, pool: str) -> Path:
    return serving_dir / "pools" / f"{pool}.json"


def version_folder(serving_dir: Path, digest: str) -> Path:
    """Return the folder with the files of a version: the signed list and the files on it."""
    return serving_dir / "store" / digest


def read(path: Path) -> DesiredState:
    """Read the state; an absent file is the empty state.

    Raises:
        ModelFileError: the file is not a desired state.
    """
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return DesiredState()
    except OSError as error:
        raise ModelFileError(
            f"cannot read {path}: {error.strerror}", hint="check the permissions of the folder"
        ) from error
    try:
        return DesiredState.model_validate_json(text)
    except ValidationError as error:
        raise ModelFileError(
            f"{path} is not a desired state: {error.errors()[0]['msg']}",
            hint="remove the file and reconcile the release: it is written again",
        ) from error


def write(path: Path, state: DesiredState) -> None:
    """Replace the file atomically: a reader sees the old state or the new state."""
    write_text(path, state.model_dump_json(indent=2) + "\n")
