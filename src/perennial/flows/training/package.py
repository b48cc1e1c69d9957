"""Package a fitted model: the file of the model and the files that belong to it, named by a capsule."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from perennial.core.evaluation.figures_hash import PARITY, PARITY_SHARE
from perennial.core.feature_spec import FeatureSpec
from perennial.core.input_spec import in_order
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Task
from perennial.core.training.artifacts import ModelManifest
from perennial.core.training.capsule import Capsule, Provenance
from perennial.core.training.explanation import Background, ServedExplanation
from perennial.core.training.registration import VersionRecord
from perennial.errors import ParityError
from perennial.files import sha256
from perennial.flows.training.fit import Fitted
from perennial.flows.training.training_data import TrainingData
from perennial.flows.training.workdir import read_record, write_json, write_table
from perennial.ports import Run, Scorer, Signer, Tracker
from perennial.serving.manifest import MANIFEST_FILE, MODEL_FILE
from perennial.serving.signed_files import sign_files

if TYPE_CHECKING:
    import pandas as pd

CAPSULE = "capsule.json"
"""File of the training run."""
BACKGROUND, REFERENCE = "background.json", "reference.parquet"
"""Files beside the model."""
RIGHT = "right"
"""Column of reference rows whose answers say with an interval what is right."""


def package(
    spec: ModelSpec,
    data: TrainingData,
    provenance: Provenance,
    fitted: Fitted,
    scorer: Scorer,
    signer: Signer,
    folder: Path,
) -> tuple[Capsule, str]:
    """Export the model into `folder`, write manifest, background and reference beside it, and sign them all.

    Returns:
        The capsule, and the digest of the version.
    """
    folder.mkdir()
    fitted.model.export(folder / MODEL_FILE)
    capsule = Capsule(
        code=provenance.code,
        data=data.revision.files,
        source=data.source,
        features=provenance.features,
        spec=spec.digest,
        parameters={
            **fitted.best.parameters,
            "epochs": fitted.epochs,
            "seed": spec.tuning.seed,
            **_workers(spec),
        },
        constraints=provenance.constraints,
        model=sha256(folder / MODEL_FILE),
    )
    return capsule, write_version(spec, data, capsule.hash, fitted.model, scorer, signer, folder)


def _workers(spec: ModelSpec) -> dict[str, int]:
    """Return the number of workers, which is part of what reproduces; one is not named, as in older capsules."""
    return {"workers": spec.training.workers} if spec.training.workers > 1 else {}


class Packaged(Protocol):
    """Statements of the manifest about a model beside its spec."""

    @property
    def architecture(self) -> str: ...

    @property
    def framework(self) -> str: ...

    def parameter_count(self) -> int: ...


def write_version(
    spec: ModelSpec,
    data: TrainingData,
    capsule: str,
    model: Packaged,
    scorer: Scorer,
    signer: Signer,
    folder: Path,
    provider: str | None = None,
) -> str:
    """Write manifest, background and reference beside the exported model in `folder`, and sign them all.

    Args:
        capsule: hash of the capsule.
        provider: execution provider that alone may run the model; None: any.

    Returns:
        The digest of the version.
    """
    explanation = _write_background(spec, data, folder)
    task = _calibrated(spec, data, scorer, folder)
    manifest = ModelManifest(
        model=spec.name,
        capsule=capsule,
        feature_service=spec.features.service,
        entities=spec.features.entities,
        request=dict(spec.features.request),
        features=spec.features.names,
        columns=spec.features.columns,
        inputs=dict(spec.features.inputs),
        target=spec.target.column,
        task=task,
        output=spec.task.output,
        architecture=model.architecture,
        framework=model.framework,
        parameters=model.parameter_count(),
        bytes=(folder / MODEL_FILE).stat().st_size,
        explanation=explanation,
        provider=provider,
    )
    write_json(folder / MANIFEST_FILE, manifest)
    _write_reference(spec, task, data, scorer, folder)
    return sign_files(folder, spec.name, capsule, signer)


@dataclass(frozen=True)
class Parity:
    """Difference between the answers of the trained and the exported model."""

    largest: float
    """Largest change of an answer (`Task.change`)."""
    share: float
    """Share of the rows whose answers differ by more than `gate.parity` allows a row."""

    @property
    def figures(self) -> dict[str, float]:
        """Return it as metrics of a run."""
        return {PARITY: self.largest, PARITY_SHARE: self.share}


class Predicts(Protocol):
    """A trained model, as far as its answers count."""

    def predict(self, features: np.ndarray) -> np.ndarray: ...


def check_parity(
    spec: ModelSpec, data: TrainingData, model: Predicts, scorer: Scorer, folder: Path
) -> Parity:
    """Compare the trained and the exported model on all rows.

    Raises:
        ParityError: they differ by more than `gate.parity` of the spec.
    """
    rows = data.split.everything
    return same_answers(spec, model.predict(rows.features), scorer.score(folder, rows.features), rows.target)


def same_answers(spec: ModelSpec, trained: np.ndarray, exported: np.ndarray, target: np.ndarray) -> Parity:
    """Compare the answers of a model with those of its exported file.

    Args:
        target: labels of these or of similar rows, for the scale of the answers.

    Raises:
        ParityError: they differ by more than `gate.parity` of the spec.
    """
    task = spec.task
    if trained.shape != exported.shape:
        raise ParityError(
            f"{spec.name}: the trained model answers {list(trained.shape)}, the exported {list(exported.shape)}",
            hint=f"the output `{task.output}` must be {task.valid}",
        )
    allowed, scale = spec.gate.parity, task.scale(target)
    change = task.change(trained, exported, scale)
    size = np.abs(task.summary(trained).astype(float)) / scale
    agrees = change <= allowed.absolute + allowed.relative * size  # false for NaN too
    parity = Parity(float(change.max()), float(1 - agrees.mean()))
    if parity.share > allowed.share:
        raise ParityError(
            f"{spec.name}: the exported model differs by {parity.largest:.2e} from the trained model, "
            f"and on {parity.share:.2%} of the rows by more than gate.parity allows ({allowed})",
            hint="look for an operator that exports differently; nothing was kept",
        )
    return parity


def _write_background(spec: ModelSpec, data: TrainingData, folder: Path) -> ServedExplanation | None:
    """Draw the background of the explanations from the reference rows, the ones that the monitor uses too."""
    settings, seed = spec.explanation, spec.tuning.seed
    if settings is None:
        return None
    rows = data.split.everything.features[data.split.reference]
    write_json(folder / BACKGROUND, Background.drawn(spec.features.names, rows, settings.background, seed))
    return ServedExplanation(
        background=BACKGROUND,
        background_digest=sha256(folder / BACKGROUND),
        coalitions=settings.coalitions,
        max_rows=settings.max_rows,
        tolerance=settings.tolerance,
        seed=seed,
    )


def _calibrated(spec: ModelSpec, data: TrainingData, scorer: Scorer, folder: Path) -> Task:
    """Return the task of the manifest: with the interval that the exported model has on the calibration rows."""
    if not spec.task.needs_calibration:
        return spec.task
    rows = data.split.calibration
    return spec.task.calibrated(rows.target, scorer.score(folder, rows.features))


def _write_reference(spec: ModelSpec, task: Task, data: TrainingData, scorer: Scorer, folder: Path) -> None:
    """Write holdout rows with their scores: on rows that it has learnt from, a model looks too good."""
    reference = data.split.reference
    context = [spec.target.column, spec.evaluation.group, *spec.evaluation.slices, *spec.data.sensitive]
    columns = list(dict.fromkeys([*spec.features.names, *context]))
    rows = data.rows.iloc[reference][columns].reset_index(drop=True)
    everything = data.split.everything
    answer = scorer.score(folder, everything.features[reference])
    label = everything.target[reference] if task.answer_tells_right else None
    write_table(folder / REFERENCE, answered_rows(rows, task, answer, label))


def answered_rows(
    rows: pd.DataFrame, task: Task, answer: np.ndarray, label: np.ndarray | None
) -> pd.DataFrame:
    """Return reference rows with the answers of a version: `score`, `decision`, and with labels the column `RIGHT`.

    Args:
        label: targets, [n]; None where the answers do not say with an interval what is right.

    Raises:
        WrongAnswer: an answer is not valid.
    """
    checked = task.checked(answer, len(rows))
    kept = {"score": task.summary(answer), "decision": task.decisions(checked)}
    if label is not None:
        kept[RIGHT] = task.right(kept["score"], kept["decision"], label, checked)
    return rows.assign(**kept)


def log_model(run: Run, files: Path, native: Any, features: np.ndarray, scorer: Scorer) -> str:
    """Log the files of a version with an example of its inputs and answers; return the model's address.

    Args:
        native: the model in its own library; None: the files alone.
        features: rows, of which the last few are the example.
    """
    example = features[-5:]
    return run.model(files, native, example, scorer.score(files, example))


def version_features(spec: ModelSpec, folder: Path) -> FeatureSpec:
    """Return the features that a version was trained on; the spec may name others today."""
    manifest = read_record(folder / MANIFEST_FILE, ModelManifest, "train")
    return spec.features.model_copy(
        update={
            "service": manifest.feature_service,
            "entities": manifest.entities,
            "columns": manifest.columns,
            "request": manifest.request,
            "inputs": in_order(manifest.inputs, manifest.features),
            "source": "request" if manifest.feature_service is None else "store",
        }
    )


def version_task(folder: Path) -> Task:
    """Return the task of a version, with what its training has measured."""
    return read_record(folder / MANIFEST_FILE, ModelManifest, "train").task


def kept_capsule(record: VersionRecord, tracker: Tracker) -> Capsule:
    """Read the capsule that the training run of a version has kept.

    Raises:
        DatasetMissing: the run has no capsule. MalformedInput: its file is damaged.
        TrackerUnavailable: the tracker is down.
    """
    with tempfile.TemporaryDirectory() as folder:
        tracker.files(record.run_id, "", Path(folder))
        return read_record(Path(folder) / CAPSULE, Capsule, "train")
