"""The parent of a variant: a registered version with its files and the data of its training."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perennial.core.evaluation.evaluation import CHAMPION
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Scored
from perennial.core.training.artifacts import ModelManifest
from perennial.core.training.capsule import Capsule, Provenance
from perennial.core.training.data import DataRevision
from perennial.core.training.examples import Examples
from perennial.core.training.registration import VersionRecord
from perennial.core.training.variants import NotMade
from perennial.core.verdict import Judgement
from perennial.errors import ParityError, SpecError
from perennial.flows.evaluation.version_files import score_files
from perennial.flows.training.capsule_data import checked_capsule, fit_again, rows_of_training
from perennial.flows.training.fit import Build
from perennial.flows.training.package import check_parity, version_features
from perennial.flows.training.point_in_time import as_examples
from perennial.flows.training.training_data import TrainingData, split_at
from perennial.flows.training.workdir import read_record
from perennial.ports import DataStore, Explain, Features, Figures, Registry, Scorer, Signer, Together, Tracker
from perennial.serving.manifest import MANIFEST_FILE

PARENT = "parent"
"""Name of the parent beside its variant in an evaluation."""


@dataclass(frozen=True)
class VariantPorts:
    registry: Registry
    tracker: Tracker
    data: DataStore
    features: Features
    scorer_on: Callable[[str | None], Scorer]
    """Execution provider -> scorer; None: the CPU."""
    signer: Signer
    together: Together
    figures: Figures
    explain: Explain
    checks: Callable[[ModelSpec, Path], tuple[Judgement, ...]]
    """Checks of the files of a candidate, as at the gate."""
    stopwatch: Callable[[Path, Path, np.ndarray, str | None], tuple[np.ndarray, np.ndarray]]
    """Parent's file, variant's file, rows, provider of the variant -> seconds of a call of each, [rounds]."""
    build: Build
    provenance: Provenance


@dataclass
class ParentVersion:
    """The parent with the data of its training."""

    record: VersionRecord
    capsule: Capsule
    manifest: ModelManifest
    files: Path
    data: TrainingData
    holdout: Examples
    answers: Scored
    champion: VersionRecord | None
    model: Any = None
    """The parent trained again, once a recipe asks for it."""

    def trained_again(self, spec: ModelSpec, ports: VariantPorts) -> Any:
        """Return the parent as a model that can learn: trained again from its capsule, and compared with its file.

        The pickled network that MLflow keeps beside a run is not read: no signature covers it.

        Raises:
            NotMade: the code, packages or machine of today give another model.
        """
        if self.model is None:
            model = fit_again(
                spec, ports.build, ports.together, spec.features.names, self.capsule, self.data.split.training
            )
            try:
                check_parity(spec, self.data, model, ports.scorer_on(None), self.files)
            except ParityError as error:
                raise NotMade(
                    f"the parent, trained again from its capsule, is another: {error.message}"
                ) from error
            self.model = model
        return self.model


def open_parent(spec: ModelSpec, record: VersionRecord, ports: VariantPorts, aside: Path) -> ParentVersion:
    """Fetch a version, and the rows of its training with the holdout that it was evaluated on.

    Raises:
        SpecError: the spec names other features than the version has. Others as `optimise`.
    """
    capsule = checked_capsule(record, ports.tracker)
    files = ports.registry.fetch(record.ref, aside / PARENT)
    own = version_features(spec, files)
    if not own.same_values(spec.features):
        raise SpecError(
            f"{record.ref} has other features than {spec.name} has today",
            hint="train again, and optimise that version",
        )
    joined = rows_of_training(spec, record, capsule, own, ports.data, ports.features, aside / "data")
    rows = as_examples(spec, joined, own.names)
    split = split_at(spec, rows, int(record.tags["holdout_from"]))
    revision = DataRevision(revision=record.tags["data.revision"], files=capsule.data)
    holdout = rows.where(rows.group >= split.holdout_from)
    answers = score_files(holdout, files, ports.scorer_on(None))
    manifest = read_record(files / MANIFEST_FILE, ModelManifest, "train")
    champion = ports.registry.find(spec.name, CHAMPION)
    data = TrainingData(revision, capsule.source, joined, split)
    return ParentVersion(record, capsule, manifest, files, data, holdout, answers, champion)
