"""The files of a version on this machine: fetched once, and what a gate and its approvals cover of them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.training.capsule import seal
from perennial.core.version import VersionRef
from perennial.files import new_folder, sha256
from perennial.serving.manifest import MANIFEST_FILE, MODEL_FILE, SEAL_FILE
from perennial.serving.signed_files import SIGNED_FILES

if TYPE_CHECKING:
    from perennial.flows.release.ports import ReleasePorts

MISSING = "missing"


def served_files(ref: VersionRef, ports: ReleasePorts) -> Path:
    """The folder with the version's files; fetched from the registry the first time."""
    folder = ports.files / ref.digest
    if not folder.is_dir():
        with new_folder(folder) as temporary:
            ports.registry.fetch(ref, temporary)
    return folder


def current_seal(ref: VersionRef, ports: ReleasePorts) -> str:
    """The seal over the version's capsule and its files as they lie here now (`core.training.capsule.seal`).

    Raises:
        ToolError: they are not here, and the registry does not answer.
    """
    files = served_files(ref, ports)
    names = {MODEL_FILE, MANIFEST_FILE, SIGNED_FILES, *(path.name for path in files.iterdir())} - {SEAL_FILE}
    return seal(ref.capsule, {name: _digest(files / name) for name in names})


def _digest(path: Path) -> str:
    """SHA-256 (hex) of a file; what is gone or no file has no digest that a gate ever saw."""
    try:
        return sha256(path)
    except OSError:
        return MISSING
