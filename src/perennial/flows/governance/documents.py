"""What is written about one version and kept with its run: where its parts come from and where it goes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from perennial.core.evaluation.evaluation import Evaluation
from perennial.core.governance.card import Found
from perennial.core.training.attribution import GlobalAttributions
from perennial.core.training.registration import VersionRecord
from perennial.flows.evaluation.evaluate import ATTRIBUTIONS, EVALUATION, KEPT
from perennial.flows.training.workdir import read_record
from perennial.ports import Ledger, Registry, Tracker

FOLDER = "card"
"""Of the run, where the documents are kept."""


@dataclass(frozen=True)
class DocumentPorts:
    registry: Registry
    ledger: Ledger
    tracker: Tracker
    to_html: Callable[[str, str, Mapping[str, Path]], str]
    """title, Markdown, pictures by their address in it -> a whole page."""


def found_of(record: VersionRecord, tracker: Tracker, into: Path) -> Found:
    """What the run keeps of its evaluation; its files are put into a folder."""
    files = {path.name: path for path in tracker.files(record.run_id, KEPT, into)}
    evaluation, attributions = files.get(EVALUATION), files.get(ATTRIBUTIONS)
    return Found(
        evaluation=read_record(evaluation, Evaluation, "evaluate") if evaluation else None,
        attributions=read_record(attributions, GlobalAttributions, "evaluate") if attributions else None,
        pictures=frozenset(name for name in files if name.endswith(".png")),
    )


def keep(record: VersionRecord, files: Iterable[Path], tracker: Tracker) -> None:
    """Put documents to the run; those of the same name are replaced.

    Raises:
        TrackerUnavailable: MLflow does not answer.
    """
    run = tracker.reopen(record.run_id)
    for file in files:
        run.artifact(file, FOLDER)
