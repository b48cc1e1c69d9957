"""Write the ML-BOM of a version, and read the ML-BOM that its registration kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from perennial.core.governance.bom import Bom, Package, make_bom
from perennial.core.spec import ModelSpec
from perennial.core.training.registration import VersionRecord
from perennial.files import sha256
from perennial.flows.governance.documents import FOLDER, DocumentPorts, card_evidence
from perennial.flows.training.package import kept_capsule

FILE = "bom.cdx.json"


def write_bom(
    spec: ModelSpec,
    record: VersionRecord,
    ports: DocumentPorts,
    packages: Sequence[Package],
    to_json: Callable[[Bom], str],
    folder: Path,
    now: datetime,
) -> Path:
    """Write the ML-BOM into `folder`; `to_json` serialises and validates it.

    Raises:
        MalformedInput: the ML-BOM would not be valid.
        ModelFileError: the files of the version cannot be read, or differ from the registered files.
        DatasetMissing: the run has no capsule.
        TrackerUnavailable: MLflow does not answer.
    """
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        files = ports.registry.fetch(record.ref, scratch / "files")
        digests = {path.name: sha256(path) for path in files.iterdir() if path.is_file()}
        capsule = kept_capsule(record, ports.tracker)
        evidence = card_evidence(record, ports.tracker, scratch / "evaluation")
    bom = make_bom(spec, record, capsule, digests, packages, evidence.evaluation, now)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(to_json(bom), encoding="utf-8")
    return folder / FILE


def kept_bom(record: VersionRecord, ports: DocumentPorts, folder: Path) -> Path | None:
    """Copy the ML-BOM of the run into `folder`; return its path, or None if the run has none."""
    files = ports.tracker.files(record.run_id, FOLDER, folder)
    return next((path for path in files if path.name == FILE), None)
