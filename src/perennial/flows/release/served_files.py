"""Served files of versions on this machine, and the seal that gate and approvals rely on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.training.capsule import seal
from perennial.core.version import VersionRef
from perennial.errors import UnknownVersion
from perennial.files import new_folder, sha256
from perennial.serving.manifest import MANIFEST_FILE, MODEL_FILE, SEAL_FILE
from perennial.serving.signed_files import SIGNED_FILES

if TYPE_CHECKING:
    from perennial.flows.release.ports import ReleasePorts

MISSING = "missing"


def served_files(ref: VersionRef, ports: ReleasePorts) -> Path:
    """Return the folder with the version's files; they are fetched from the registry the first time."""
    folder = ports.files / ref.digest
    if not folder.is_dir():
        with new_folder(folder) as temporary:
            ports.registry.fetch(ref, temporary)
    return folder


def current_seal(ref: VersionRef, ports: ReleasePorts) -> str:
    """Return the seal over the version's capsule and its current files (`core.training.capsule.seal`).

    Raises:
        ToolError: the files are not on this machine, and the registry does not answer.
    """
    try:
        files = served_files(ref, ports)
    except UnknownVersion:
        return seal(ref.capsule, {})  # lost in the registry and here: no approval covers that
    names = {MODEL_FILE, MANIFEST_FILE, SIGNED_FILES, *(path.name for path in files.iterdir())} - {SEAL_FILE}
    return seal(ref.capsule, {name: _digest(files / name) for name in names})


def _digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file; MISSING, which no gate ever sealed, where there is none."""
    try:
        return sha256(path)
    except OSError:
        return MISSING
