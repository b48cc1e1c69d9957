"""Check that the files of a version are sound and of formats that run no code when they are read."""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from picklescan.scanner import SafetyLevel, scan_bytes

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
    # A ZIP is read from its end: it may be appended to a sound file of another format.
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


def pickled(path: Path) -> str:
    """Return the imports of the pickles in a file or in its ZIP members, in words; empty when it has none.

    The opcodes are read, nothing is executed. Every import that picklescan does not know as harmless counts as
    dangerous (its `strict`): a model file has no reason to import anything.
    """
    with _quiet():
        try:
            result = scan_bytes(io.BytesIO(path.read_bytes()), str(path), path.suffix, strict=True)
        except (ValueError, EOFError, NotImplementedError, zipfile.BadZipFile) as error:
            return f"a pickle or an archive that cannot be looked through: {error}"
    words = {SafetyLevel.Innocuous: "harmless"}
    names = sorted(
        f"{name.module}.{name.name} ({words.get(name.safety, 'dangerous')})" for name in result.globals
    )
    return f"a pickle that imports {', '.join(names)}" if names else ""


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence picklescan, which warns of every file that is no pickle: the usual case here."""
    log = logging.getLogger("picklescan")
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before
