"""Make, evaluate and register the version of a fitted calibration."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from perennial.core.evaluation.evaluation import CHAMPION, MODEL, Evaluation, evaluate_scores
from perennial.core.evaluation.figures_hash import figures_hash
from perennial.core.recalibration.attempt import RECALIBRATION_OF, Recalibration, recalibration_tags
from perennial.core.recalibration.calibration import Calibration
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Scored, Task
from perennial.core.tasks.regression import Regression
from perennial.core.tasks.score import POSITIVE, ScoreTask
from perennial.core.training.artifacts import ModelManifest
from perennial.core.training.registration import NewVersion, VersionRecord
from perennial.core.training.variants import may_replace
from perennial.core.version import Change, VersionRef
from perennial.files import sha256
from perennial.flows.evaluation.evaluate import KEPT
from perennial.flows.evaluation.version_files import show_evaluation
from perennial.flows.recalibration.labelled import LabelledAnswers
from perennial.flows.recalibration.weights import Weights
from perennial.flows.training.package import (
    BACKGROUND,
    CAPSULE,
    REFERENCE,
    RIGHT,
    answered_rows,
    kept_capsule,
    log_model,
    same_answers,
)
from perennial.flows.training.workdir import read_table, write_json, write_table
from perennial.ports import Explain, Figures, Registry, Scorer, Signer, Tracker
from perennial.serving.manifest import MANIFEST_FILE, MODEL_FILE
from perennial.serving.signed_files import sign_files

ATTEMPT = "recalibration.json"
"""File of the run of a recalibrated version."""


@dataclass(frozen=True)
class VersionPorts:
    registry: Registry
    tracker: Tracker
    scorer: Scorer
    signer: Signer
    figures: Figures
    explain: Explain
    write_calibrated: Callable[[Path, Calibration, str, Path], None]
    """Model file of the weights, calibration, name of the output, file to write."""


def task_with(manifest: ModelManifest, calibration: Calibration, known: LabelledAnswers) -> Task:
    """Return the task of the recalibrated version: an interval gets the width that the errors of the fitting rows need.

    The half width moves by no more than an answer may.

    Raises:
        DataError: there are too few rows for the level of the interval.
    """
    task = manifest.task
    if not isinstance(task, Regression) or task.half_width is None:
        return task
    early = ~known.later
    fitted = task.calibrated(known.label[early], calibration.apply(known.trained[early]))
    low, high = max(0.0, task.half_width - calibration.largest), task.half_width + calibration.largest
    return fitted.model_copy(update={"half_width": float(np.clip(fitted.half_width or 0.0, low, high))})


def register_recalibration(
    spec: ModelSpec,
    weights: Weights,
    champion: VersionRecord,
    result: Recalibration,
    known: LabelledAnswers,
    ports: VersionPorts,
    actor: str,
    folder: Path,
    say: Callable[[str], None],
) -> VersionRef:
    """Write the files of the version into `folder`, judge them on the later labels, and register the version.

    Raises:
        ParityError: the written file answers otherwise than the calibration.
        DataError: the later labels define no figures, since they are all the same.
        NotRecalibrable: the model file cannot be extended.
    """
    files = folder / "model"
    files.mkdir(parents=True)
    manifest = weights.manifest
    ports.write_calibrated(
        weights.files / MODEL_FILE, result.calibration, manifest.output, files / MODEL_FILE
    )
    answers = ports.scorer.score(files, known.features)
    parity = same_answers(spec, result.calibration.apply(known.trained), answers, known.label)
    capsule = kept_capsule(weights.record, ports.tracker)
    capsule = capsule.model_copy(
        update={
            "spec": spec.digest,
            "model": sha256(files / MODEL_FILE),
            "parameters": {
                **capsule.parameters,
                RECALIBRATION_OF: weights.record.ref.digest,
                "recalibration.map": result.calibration.model_dump_json(),
            },
        }
    )
    task = task_with(manifest, result.calibration, known)
    if (weights.files / BACKGROUND).exists():
        shutil.copyfile(weights.files / BACKGROUND, files / BACKGROUND)
    size = (files / MODEL_FILE).stat().st_size
    changed = {"capsule": capsule.hash, "task": task, "bytes": size}
    write_json(files / MANIFEST_FILE, manifest.model_copy(update=changed))
    _write_reference(manifest, task, weights.files, files, ports.scorer)
    digest = sign_files(files, spec.name, capsule.hash, ports.signer)
    evaluation = evaluate_later(spec, digest, task, champion, known, answers)
    plots = folder / KEPT
    title = f"recalibrated from {weights.record.ref.version}"
    examples = known.examples(known.later, _targets(spec.task, known.label))
    show_evaluation(
        spec, evaluation, examples, title, files, plots, ports.figures, ports.scorer, ports.explain, say
    )
    metrics = evaluation.flat() | parity.figures
    tags = recalibration_tags(
        weights.record, champion.ref.digest, figures_hash(metrics), spec.digest, result, actor
    )
    with ports.tracker.run(
        spec.name, f"{spec.name} {title}", {"reason": tags["reason"], "reason.text": tags["reason.text"]}
    ) as run:
        uri = log_model(run, files, None, known.features, ports.scorer)
        run.log(metrics=metrics, tags={"capsule": capsule.hash, "digest": digest})
        for name, content in ((CAPSULE, capsule), (ATTEMPT, result)):
            write_json(folder / name, content)
            run.artifact(folder / name)
        run.artifact(plots, KEPT)
    return ports.registry.register(
        NewVersion(
            model=spec.name,
            run_id=run.run_id,
            model_uri=uri,
            digest=digest,
            capsule=capsule.hash,
            change=Change.REPACKAGED,
            patch_of=weights.record.ref.version,
            candidate=may_replace(ports.registry.find(spec.name, "candidate"), weights.record),
            description=_describe(spec, weights, result),
            tags={**tags, "model.bytes": str(size)},
        )
    )


def _targets(task: Task, label: np.ndarray) -> np.ndarray:
    """Return labels as targets: a source that is not sure may have sent a number between 0 and 1."""
    return (label >= POSITIVE).astype(float) if isinstance(task, ScoreTask) else label


def evaluate_later(
    spec: ModelSpec,
    digest: str,
    task: Task,
    champion: VersionRecord,
    known: LabelledAnswers,
    answers: np.ndarray,
) -> Evaluation:
    """Evaluate a recalibration beside the champion on the rows that judge, each under its own task.

    Args:
        digest, task, answers: of the recalibration; answers to all rows, [n] or [n, k].

    Raises:
        DataError: the labels define no figures, since they are all the same.
    """
    later = known.later
    target = _targets(spec.task, known.label)[later]

    def scored(of: Task, answer: np.ndarray) -> Scored:
        return of.scored(target, answer[later], known.group[later], known.features[later])

    evaluation = evaluate_scores(
        digest,
        {MODEL: scored(task, answers), CHAMPION: scored(known.champion_task, known.champion)},
        {column: values[later] for column, values in known.slices.items()},
        spec.gate.improvement.metric,
        spec.evaluation.slice_min_rows,
        spec.evaluation.bootstrap,
        spec.tuning.seed,
    )
    return evaluation.model_copy(update={"champion": champion.ref.digest})


def _write_reference(manifest: ModelManifest, task: Task, trained: Path, files: Path, scorer: Scorer) -> None:
    """Write the reference rows of the weights with the calibrated answers."""
    rows: pd.DataFrame = read_table(trained / REFERENCE, "train")
    inputs = np.ascontiguousarray(rows[list(manifest.features)].to_numpy(dtype=np.float32))
    label = task.targets(rows[manifest.target].to_numpy(), manifest.target) if RIGHT in rows else None
    write_table(files / REFERENCE, answered_rows(rows, task, scorer.score(files, inputs), label))


def _describe(spec: ModelSpec, weights: Weights, result: Recalibration) -> str:
    return (
        f"{spec.description}\n\nRecalibrated from {weights.record.ref.version}, whose weights it keeps: "
        f"{result.calibration}. Fitted to {result.learnt} labelled answers of clients and judged on {result.judged} "
        f"later ones: {result.in_words}. Its figures are those of the later ones."
    )
