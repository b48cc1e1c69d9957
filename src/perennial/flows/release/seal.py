"""Seals beside the files of gated versions: written at the gate, read by a rollback."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from perennial.core.release.rollback import Seal
from perennial.core.version import VersionRef
from perennial.errors import ModelFileError
from perennial.files import sha256, write_text
from perennial.serving.manifest import MANIFEST_FILE, SEAL_FILE, ServedManifest

Published = Callable[[str], Mapping[str, str]]
"""Feature service -> feature -> digest of its published definition; empty when nothing is published."""


def write_seal(ref: VersionRef, manifest: ServedManifest, files: Path, published: Published) -> Seal:
    """Write the seal of a version beside its verified files; it replaces the seal of an earlier gate."""
    service = manifest.feature_service
    known = published(service) if service is not None else {}
    seal = Seal(
        ref=ref,
        manifest=manifest_digest(files),
        service=service,
        features={name: known[name] for name in manifest.features if name in known},
    )
    write_text(files / SEAL_FILE, seal.model_dump_json(indent=2) + "\n")
    return seal


def read_seal(files: Path) -> Seal | None:
    """Return the seal in a folder; None where no gate on this machine sealed the files.

    Raises:
        ModelFileError: the file is not a seal.
    """
    try:
        return Seal.model_validate_json((files / SEAL_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, OSError) as error:
        raise ModelFileError(
            f"{files / SEAL_FILE} cannot be read: {error}", hint="remove the folder and release it again"
        ) from error


def manifest_digest(files: Path) -> str:
    """Return the SHA-256 (hex) of the manifest in a folder.

    Raises:
        ModelFileError: it cannot be read.
    """
    try:
        return sha256(files / MANIFEST_FILE)
    except OSError as error:
        raise ModelFileError(
            f"{files / MANIFEST_FILE} cannot be read: {error.strerror}", hint="load the version again"
        ) from error
