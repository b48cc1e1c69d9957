"""Check that the files of a version are sound and of formats that run no code when they are read."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from perennial.adapters.scanning.pickle_scan import pickled
from perennial.model_probe import model_problem

ARCHIVES = (b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c")
"""Magic bytes of ZIP, in which NumPy and PyTorch keep pickles, and of 7z."""
PICKLE = b"\x80"
"""Magic byte of pickle protocol 2 and later. Earlier protocols are text, which no allowed format accepts."""
ARCHIVE = "a pickle or an archive, whatever its name"


def scan(folder: Path) -> tuple[list[str], int]:
    """Return the problems of the files below a folder, in words, and the number of files.

    Nothing is unpickled; a model is tried in a child process with limits (`model_probe`).
    """
    files = sorted(path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    problems = [f"{path.relative_to(folder)}: {why}" for path in files if (why := _problem(path))]
    return problems, len(files)


def _problem(path: Path) -> str:
    """Return the problem of a file in words; empty when there is none."""
    if path.is_symlink() or not path.is_file():
        return "no plain file"
    with path.open("rb") as file:
        start = file.read(6)
    if start.startswith(ARCHIVES[1]):
        return ARCHIVE
    # A ZIP is found from its end: it may be appended to a sound file of another format.
    if start.startswith((PICKLE, *ARCHIVES)) or zipfile.is_zipfile(path):
        return "; ".join(filter(None, (ARCHIVE, pickled(path))))
    return pickled(path) or _unsound(path)


def _unsound(path: Path) -> str:
    match path.suffix:
        case ".onnx":
            return model_problem(path.read_bytes())
        case ".json":
            return _json(path)
        case ".parquet":
            return _parquet(path)
    return f"files of the format {path.suffix or '(none)'} are not allowed"


def _json(path: Path) -> str:
    try:
        json.loads(path.read_bytes())
    except ValueError as error:
        return f"no JSON: {error}"
    return ""


def _parquet(path: Path) -> str:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        pq.read_metadata(path)
    except (pa.ArrowException, OSError) as error:
        return f"no Parquet: {error}"
    return ""
