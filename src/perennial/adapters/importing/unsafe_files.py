"""Refuse files that run code when they are read: pickles by name, by content, and inside archives."""

from __future__ import annotations

import zipfile
from pathlib import Path

from perennial.adapters.scanning.file_scan import PICKLE, pickled
from perennial.core.training.imported import LARGEST_BYTES
from perennial.errors import DatasetMissing, ModelFileError

PICKLE_NAMES = frozenset(
    {".pkl", ".pickle", ".joblib", ".dill", ".cloudpickle", ".pt", ".pth", ".bin", ".ckpt", ".npy"}
)
FORMATS = {".onnx": "onnx", ".skops": "skops", ".safetensors": "safetensors"}
MOST_MEMBERS, LARGEST_MEMBERS = 20_000, 4 * LARGEST_BYTES
ARCHIVE_NAMES = (".zip", ".tar", ".gz", ".7z", ".xz", ".bz2")
TAKEN = "an ONNX, skops or safetensors file, or an MLflow address"


def format_of(path: Path) -> str:
    """Return the format of a model file, after a look that executes nothing.

    Raises:
        DatasetMissing: there is no such file. ModelFileError: a pickle, an archive of pickles, too large, or of
            another format.
    """
    if path.is_symlink() or not path.is_file():
        raise DatasetMissing(f"{path} is no file", hint=f"give {TAKEN}")
    if path.suffix.lower() in PICKLE_NAMES:
        raise _unsafe(path, f"a {path.suffix} file holds a pickle, which runs code when it is read")
    size = path.stat().st_size
    if size > LARGEST_BYTES:
        raise ModelFileError(
            f"{path} has {size >> 20} MiB, more than {LARGEST_BYTES >> 20}", hint="export a smaller model"
        )
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise ModelFileError(f"{path} is none of {', '.join(FORMATS)}", hint=f"give {TAKEN}")
    with path.open("rb") as file:
        start = file.read(6)
    is_zip = zipfile.is_zipfile(path)
    if start.startswith(PICKLE) or (is_zip and kind != "skops"):
        raise _unsafe(path, "a pickle or an archive, whatever its name")
    if kind == "skops":
        if not is_zip:
            raise ModelFileError(f"{path} is no skops file", hint="write it with skops.io.dump")
        _check_members(path)
    if said := pickled(path):
        raise _unsafe(path, said)
    return kind


def _check_members(path: Path) -> None:
    """Refuse an archive that unpacks to too much, or that holds a pickle or an archive."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > LARGEST_MEMBERS:
            raise _unsafe(path, "an archive that unpacks to too much")
        for member in members:
            name = member.filename
            if name.lower().endswith((*(PICKLE_NAMES - {".npy"}), *ARCHIVE_NAMES)):
                raise _unsafe(path, f"{name} in it is a pickle or an archive")
            with archive.open(member) as file:
                start = file.read(4)
            if start.startswith((PICKLE, b"PK\x03\x04")):
                raise _unsafe(path, f"{name} in it is a pickle or an archive, whatever its name")


def _unsafe(path: Path, why: str) -> ModelFileError:
    return ModelFileError(f"{path}: {why}", hint=f"export the model again: {TAKEN}, never a pickle")
