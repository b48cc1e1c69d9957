"""Make the ML-BOM of a version, and find the one that its registration kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from perennial.core.governance.bom import Bom, Package, make_bom
from perennial.core.spec import ModelSpec
from perennial.core.training.capsule import Capsule
from perennial.core.training.registration import VersionRecord
from perennial.files import sha256
from perennial.flows.governance.documents import FOLDER, DocumentPorts, found_of
from perennial.flows.training.workdir import read_record

FILE = "bom.cdx.json"
CAPSULE = "capsule.json"


def write_bom(
    spec: ModelSpec,
    record: VersionRecord,
    ports: DocumentPorts,
    packages: Sequence[Package],
    to_json: Callable[[Bom], str],
    folder: Path,
    now: datetime,
) -> Path:
    """Write the ML-BOM into `folder`; `to_json` makes it and finds it valid.

    Raises:
        MalformedInput: it would not be valid.
        ModelFileError: the files of the version cannot be read, or are not those that were registered.
        DatasetMissing: the run has no capsule.
        TrackerUnavailable: MLflow does not answer.
    """
    with tempfile.TemporaryDirectory() as name:
        aside = Path(name)
        files = ports.registry.fetch(record.ref, aside / "files")
        digests = {path.name: sha256(path) for path in files.iterdir() if path.is_file()}
        ports.tracker.files(record.run_id, "", aside)
        capsule = read_record(aside / CAPSULE, Capsule, "train")
        found = found_of(record, ports.tracker, aside / "evaluation")
    bom = make_bom(spec, record, capsule, digests, packages, found.evaluation, now)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_text(to_json(bom), encoding="utf-8")
    return folder / FILE


def kept_bom(record: VersionRecord, ports: DocumentPorts, folder: Path) -> Path | None:
    """The one that is kept with the run, copied into `folder`; None where there is none."""
    files = ports.tracker.files(record.run_id, FOLDER, folder)
    return next((path for path in files if path.name == FILE), None)
