"""Make the documents of a version at its registration, and keep them with its run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from perennial.core.governance.bom import Bom, Package
from perennial.core.spec import ModelSpec
from perennial.flows.governance.bom import write_bom
from perennial.flows.governance.card import write_card
from perennial.flows.governance.documents import DocumentPorts, keep
from perennial.flows.versions import find_version


def document_version(
    spec: ModelSpec,
    version: str,
    ports: DocumentPorts,
    packages: Sequence[Package],
    to_json: Callable[[Bom], str],
    now: datetime,
) -> None:
    """Make model card and ML-BOM of a registered version and upload both to its run; repeating replaces them.

    Raises:
        UnknownVersion: the registry has no such version.
        TrackerUnavailable: MLflow does not answer. Others: see `write_bom`.
    """
    record = find_version(spec.name, version, ports.registry)
    with TemporaryDirectory() as name:
        folder = Path(name)
        files = write_card(spec, record, ports, folder, now)
        bom = write_bom(spec, record, ports, packages, to_json, folder, now)
        keep(record, [*files, bom], ports.tracker)
