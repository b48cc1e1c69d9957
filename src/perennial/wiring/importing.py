"""Readers and ports of an import of a finished model."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.governance.identity import Role
from perennial.settings import Settings
from perennial.wiring import training
from perennial.wiring.accounts import sign_in
from perennial.wiring.keys import file_signer
from perennial.wiring.versions import registry

if TYPE_CHECKING:
    from perennial.flows.evaluation.import_model import ImportPorts
    from perennial.ports.importing import GivenModel


def copied(address: str, settings: Settings, into: Path) -> tuple[Path, tuple[str, ...] | None]:
    """Copy a model file, or the files of an MLflow address, into an empty folder.

    Returns:
        The file, and the names of its columns where MLflow has a signature. What is read later is this copy, whatever
        happens to the original.

    Raises:
        As `unsafe_files.format_of` and `mlflow_model.model_file`.
    """
    from perennial.adapters.importing import unsafe_files

    if not address.startswith(("models:/", "runs:/")):
        path = Path(address)
        unsafe_files.format_of(path)
        return Path(shutil.copyfile(path, into / f"model{path.suffix.lower()}")), None
    from perennial.adapters.importing.mlflow_model import model_file

    sign_in(settings, Role.TRAINING)
    return model_file(address, settings.tracking, into)


def given_model(path: Path, names: tuple[str, ...] | None, trust: tuple[str, ...]) -> GivenModel:
    """Return the reader of a model file.

    Args:
        names: of the columns, in order, where somebody beside the file has said them.

    Raises:
        DatasetMissing: there is no such file. ModelFileError: it cannot be taken.
    """
    from perennial.adapters.importing import unsafe_files
    from perennial.adapters.importing.onnx_model import OnnxModel
    from perennial.model_probe import model_problem

    kind = unsafe_files.format_of(path)
    if kind == "onnx":
        return OnnxModel(path, model_problem, names)
    if kind == "skops":
        from perennial.adapters.importing.skops_model import SkopsModel

        return SkopsModel(path, trust)
    from perennial.models.safetensors_model import SafetensorsModel

    return SafetensorsModel(path)


def import_ports(settings: Settings) -> ImportPorts:
    from perennial.adapters.documents.figures import TrainingFigures
    from perennial.adapters.importing.served_form import served_form
    from perennial.flows.evaluation.import_model import ImportPorts
    from perennial.serving.attribution import shapley

    return ImportPorts(
        registry=registry(settings),
        tracker=training.tracker(settings),
        scorer=training.scorer(),
        signer=file_signer(settings),
        figures=TrainingFigures(),
        explain=shapley,
        served_form=served_form,
    )
