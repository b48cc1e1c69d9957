"""Find the model file behind an address in MLflow: `models:/NAME/VERSION`, `models:/NAME@ALIAS`, `runs:/RUN/PATH`.

Only files are copied; MLflow's own loaders, which unpickle, are not called.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from perennial.adapters.mlflow.connection import connect, reaching

# After the connection's settings, which MLflow reads when it is imported.
import mlflow  # isort: skip
from mlflow.exceptions import MlflowException  # isort: skip

from perennial.adapters.importing.unsafe_files import FORMATS, LARGEST_MEMBERS
from perennial.errors import ModelFileError, UnknownVersion

SCHEMES = ("models:/", "runs:/")


def is_address(text: str) -> bool:
    return text.startswith(SCHEMES)


def model_file(address: str, url: str, into: Path) -> tuple[Path, tuple[str, ...] | None]:
    """Copy the files of an address and return the model file among them, with the names of its columns.

    Args:
        url: of MLflow. into: an empty folder.

    Raises:
        UnknownVersion: MLflow has nothing there. ModelFileError: no file there can be taken.
        TrackerUnavailable: MLflow does not answer.
    """
    connect(url)
    try:
        with reaching(url):
            at = mlflow.artifacts.download_artifacts(
                artifact_uri=_in_run(address, url), dst_path=str(into), tracking_uri=url
            )
    except (MlflowException, OSError) as error:
        raise UnknownVersion(
            f"MLflow has no files at {address}: {str(error).splitlines()[0][:200]}",
            hint="models:/NAME/VERSION, models:/NAME@ALIAS or runs:/RUN/PATH",
        ) from error
    place = Path(at)
    if place.is_file():
        return place, None
    files = [path for path in place.rglob("*") if path.is_file()]
    if (
        any(path.is_symlink() for path in place.rglob("*"))
        or sum(f.stat().st_size for f in files) > LARGEST_MEMBERS
    ):
        raise ModelFileError(f"{address} holds links, or too much", hint="name the file: runs:/RUN/PATH")
    description = place / "MLmodel"
    if not description.is_file():
        return _only(address, files), None
    said = _read(address, description)
    return flavour(address, place, said), _columns(said)


def _in_run(address: str, url: str) -> str:
    """Return the address of the only model of a run, where a run alone is named."""
    run = address.removeprefix("runs:/").strip("/")
    if not address.startswith("runs:/") or "/" in run:
        return address
    with reaching(url):
        outputs = connect(url).get_run(run).outputs
    models = [] if outputs is None else [output.model_id for output in outputs.model_outputs]
    if len(models) != 1:
        raise UnknownVersion(
            f"the run {run} has {len(models)} models", hint="name one: runs:/RUN/PATH, models:/ID"
        )
    return f"models:/{models[0]}"


def _read(address: str, path: Path) -> dict[str, Any]:
    try:
        said = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ModelFileError(f"{address}: MLmodel is no YAML: {error}", hint="log the model again") from error
    if not isinstance(said, dict) or not isinstance(said.get("flavors"), dict):
        raise ModelFileError(f"{address}: MLmodel names no flavours", hint="log the model again")
    return said


def flavour(address: str, folder: Path, said: dict[str, Any]) -> Path:
    """Return the file of a flavour that needs no pickle."""
    flavours = said["flavors"]
    for flavour, key in (("onnx", "data"), ("sklearn", "pickled_model")):
        own = flavours.get(flavour)
        name = own.get(key) if isinstance(own, dict) else None
        if isinstance(name, str) and Path(name).suffix in FORMATS:
            path = (folder / name).resolve()
            if not path.is_relative_to(folder.resolve()) or not path.is_file():
                raise ModelFileError(
                    f"{address}: {name!r} is no file of the model", hint="log the model again"
                )
            return path
    raise ModelFileError(
        f"{address} has the flavours {', '.join(map(str, flavours))}: none is ONNX or skops, the others hold pickles",
        hint="log it with mlflow.onnx.log_model, or mlflow.sklearn.log_model(..., serialization_format='skops')",
    )


def _only(address: str, files: list[Path]) -> Path:
    taken = [path for path in files if path.suffix in FORMATS]
    if len(taken) != 1:
        raise ModelFileError(
            f"{address} has {len(taken)} files of {', '.join(FORMATS)}", hint="name the file: runs:/RUN/PATH"
        )
    return taken[0]


def _columns(said: dict[str, Any]) -> tuple[str, ...] | None:
    """Return the names of the columns in the signature; None for a matrix without names."""
    import json

    try:
        columns = json.loads(said["signature"]["inputs"])
        names = tuple(str(column["name"]) for column in columns if column["type"] != "tensor")
    except (KeyError, TypeError, ValueError):
        return None
    return names or None
