"""Model card and ML-BOM of a version: write them, keep them with the run, and read the kept ML-BOM."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from perennial.core.evaluation.evaluation import Evaluation
from perennial.core.governance.bom import Bom, Package, make_bom
from perennial.core.governance.card import make_card
from perennial.core.governance.card_figures import CardEvidence
from perennial.core.governance.timeline import version_timelines
from perennial.core.spec import ModelSpec
from perennial.core.training.attribution import GlobalAttributions
from perennial.core.training.registration import VersionRecord
from perennial.files import sha256
from perennial.flows.evaluation.evaluate import ATTRIBUTIONS, EVALUATION, KEPT
from perennial.flows.training.package import kept_capsule
from perennial.flows.training.workdir import read_record
from perennial.flows.versions import find_version
from perennial.ports import Ledger, Registry, Tracker

FOLDER = "card"
"""Artifact folder of the run that keeps the documents."""
BOM_FILE = "bom.cdx.json"


@dataclass(frozen=True)
class DocumentPorts:
    """Ports of the documents."""

    registry: Registry
    ledger: Ledger
    tracker: Tracker
    to_html: Callable[[str, str, Mapping[str, Path]], str]
    """title, Markdown, pictures by their address in it -> a whole page."""


def card_evidence(record: VersionRecord, tracker: Tracker, into: Path) -> CardEvidence:
    """Download the evaluation files of the run into a folder and read them."""
    files = {path.name: path for path in tracker.files(record.run_id, KEPT, into)}
    evaluation, attributions = files.get(EVALUATION), files.get(ATTRIBUTIONS)
    return CardEvidence(
        evaluation=read_record(evaluation, Evaluation, "evaluate") if evaluation else None,
        attributions=read_record(attributions, GlobalAttributions, "evaluate") if attributions else None,
        pictures=frozenset(name for name in files if name.endswith(".png")),
    )


def keep(record: VersionRecord, files: Iterable[Path], tracker: Tracker) -> None:
    """Upload documents to the run; a document of the same name is replaced.

    Raises:
        TrackerUnavailable: MLflow does not answer.
    """
    run = tracker.reopen(record.run_id)
    for file in files:
        run.artifact(file, FOLDER)


def write_card(
    spec: ModelSpec, record: VersionRecord, ports: DocumentPorts, folder: Path, now: datetime
) -> list[Path]:
    """Write card.md, card.html (which holds its pictures) and the pictures (for card.md) into `folder`.

    Raises:
        TrackerUnavailable: MLflow does not answer; it has most of the card.
    """
    rows = ports.ledger.rows(spec.name)
    mine = [row for row in rows if row.entry.digest == record.ref.digest]
    timelines = version_timelines(rows)
    timeline = next((line for line in timelines if line.version == record.ref.version), None)
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as aside:
        card = make_card(spec, record, card_evidence(record, ports.tracker, Path(aside)), timeline, mine, now)
        pictures = {picture.file: folder / picture.file for picture in card.pictures}
        for name, path in pictures.items():
            shutil.copyfile(Path(aside) / name, path)
    markdown, page = folder / "card.md", folder / "card.html"
    markdown.write_text(card.markdown(), encoding="utf-8")
    page.write_text(ports.to_html(card.title, card.markdown(), pictures), encoding="utf-8")
    return [markdown, page, *pictures.values()]


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
    with TemporaryDirectory() as name:
        scratch = Path(name)
        files = ports.registry.fetch(record.ref, scratch / "files")
        digests = {path.name: sha256(path) for path in files.iterdir() if path.is_file()}
        capsule = kept_capsule(record, ports.tracker)
        evidence = card_evidence(record, ports.tracker, scratch / "evaluation")
    bom = make_bom(spec, record, capsule, digests, packages, evidence.evaluation, now)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / BOM_FILE).write_text(to_json(bom), encoding="utf-8")
    return folder / BOM_FILE


def kept_bom(record: VersionRecord, ports: DocumentPorts, folder: Path) -> Path | None:
    """Copy the ML-BOM of the run into `folder`; return its path, or None if the run has none."""
    files = ports.tracker.files(record.run_id, FOLDER, folder)
    return next((path for path in files if path.name == BOM_FILE), None)


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
