"""Documents about a version: their ports, the evidence they need, and keeping them with the run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from perennial.core.evaluation.evaluation import Evaluation
from perennial.core.governance.card_figures import CardEvidence
from perennial.core.training.attribution import GlobalAttributions
from perennial.core.training.registration import VersionRecord
from perennial.flows.evaluation.evaluate import ATTRIBUTIONS, EVALUATION, KEPT
from perennial.flows.training.workdir import read_record
from perennial.ports import Ledger, Registry, Tracker

FOLDER = "card"
"""Artifact folder of the run that keeps the documents."""


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
