"""The version whose trained weights a recalibration keeps."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from perennial.core.recalibration.attempt import RECALIBRATION_OF, is_recalibrated
from perennial.core.training.artifacts import ModelManifest
from perennial.core.training.registration import VersionRecord
from perennial.errors import UnknownVersion
from perennial.flows.training.workdir import read_record
from perennial.ports import Registry
from perennial.serving.manifest import MANIFEST_FILE


@dataclass(frozen=True)
class Weights:
    """The version whose weights are kept."""

    record: VersionRecord
    files: Path
    manifest: ModelManifest


def fetch_weights(champion: VersionRecord, registry: Registry, into: Path) -> Weights:
    """Fetch the version whose answers are mapped: never those of a recalibration, so that its bound holds for all.

    Raises:
        UnknownVersion: the registry no longer has it.
    """
    record = champion
    if is_recalibrated(champion.tags):
        digest = champion.tags[RECALIBRATION_OF]
        known = [version for version in registry.versions(champion.ref.model) if version.ref.digest == digest]
        if not known:
            raise UnknownVersion(
                f"the version with the weights of {champion.ref}, {digest[:12]}, is not in the registry",
                hint="restore the registry, or train again",
            )
        record = known[-1]
    files = registry.fetch(record.ref, into)
    return Weights(record, files, read_record(files / MANIFEST_FILE, ModelManifest, "train"))
