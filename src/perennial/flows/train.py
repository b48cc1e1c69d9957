"""Join, tune, fit, export, log: from prepared data to one exported model and its run."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from perennial.core.capsule import Capsule, Provenance
from perennial.core.data import DataRevision
from perennial.core.examples import Examples
from perennial.core.metrics import LOWER_IS_BETTER
from perennial.core.spec import ModelSpec, Reason
from perennial.core.split import first_later_group
from perennial.core.training import Manifest, Trained
from perennial.core.tuning import Trial
from perennial.errors import ParityError
from perennial.flows.join import as_examples, join
from perennial.flows.workdir import Workdir, read_record, read_table, write_json, write_table
from perennial.ports import Features, Figures, Registry, Run, Scorer, Tracker, Tuner

if TYPE_CHECKING:
    import pandas as pd

REFERENCE_ROWS = 5000
"""Enough for the quantile bins of the monitor, small enough to keep with every version."""


@dataclass(frozen=True)
class TrainPorts:
    features: Features
    tracker: Tracker
    tuner: Tuner
    registry: Registry
    scorer: Scorer
    figures: Figures


@dataclass(frozen=True)
class Split:
    """Training rows, the later ones of them for validation, and the holdout that nothing is learnt from."""

    everything: Examples
    holdout_from: int
    validation_from: int

    @property
    def learn(self) -> Examples:
        return self.everything.where(self.everything.group < self.validation_from)

    @property
    def validation(self) -> Examples:
        group = self.everything.group
        return self.everything.where((group >= self.validation_from) & (group < self.holdout_from))

    @property
    def training(self) -> Examples:
        return self.everything.where(self.everything.group < self.holdout_from)


def train(
    spec: ModelSpec,
    work: Workdir,
    ports: TrainPorts,
    build: Callable[[tuple[str, ...], dict[str, Any], int], Any],
    suggest: Callable[[Any], dict[str, Any]],
    provenance: Provenance,
    reason: Reason,
    reason_text: str,
    say: Callable[[str], None],
) -> Trained:
    """Train one model on the prepared data of `work`.

    Killed and repeated, the tuning goes on where it stopped; the interrupted run stays in the tracker as
    what it is.

    Args:
        build: the model class: names, parameters, seed -> Model.
        suggest: its search space.

    Raises:
        DatasetMissing: `prepare` has not run. DataError: too little history, or only one verdict.
        ParityError: the exported model answers otherwise than the trained one; nothing is kept.
        TrackerUnavailable: the tracker is down; nothing has been trained.
    """
    started = time.monotonic()
    revision = read_record(work.revision, DataRevision, "prepare")
    rows = join(spec, read_table(work.examples, "prepare"), ports.features, work.read_views())
    champion = ports.registry.find(spec.name, "champion")
    split = split_rows(spec, as_examples(spec, rows), retrain=champion is not None)
    tags = {"reason": reason.value, "reason.text": reason_text, "data.revision": revision.revision}
    with ports.tracker.run(spec.name, f"{spec.name} {reason.value}", tags) as run:
        say(f"run {run.run_id}: {len(split.training)} rows before group {split.holdout_from} train")
        run.log(params=_settings(spec, split))
        run.dataset(revision, rows, context="training")
        study = study_name(spec, revision, provenance, split)
        best, trials = _tune(spec, split, ports, run, build, suggest, study, say)
        model, epochs, curve = _fit(spec, split, build, best)
        with tempfile.TemporaryDirectory(dir=_folder(work)) as aside:
            folder = Path(aside) / "model"
            folder.mkdir()
            parity = _export(spec, model, split, folder, ports.scorer)
            capsule = _capsule(spec, revision, provenance, best, epochs, folder)
            _describe(spec, model, capsule, folder)
            write_table(folder / "reference.parquet", _reference(spec, rows, split, folder, ports.scorer))
            example = split.everything.features[-5:]
            uri = run.model(folder, model.native(), example, ports.scorer.score(folder, example))
            _log(run, ports, study, Path(aside), best, epochs, curve, capsule, parity, model, provenance)
            _replace(folder, work.model)
        trained = Trained(
            model=spec.name,
            run_id=run.run_id,
            model_uri=uri,
            digest=capsule.model,
            capsule=capsule.hash,
            revision=revision.revision,
            code=provenance.code,
            features_hash=provenance.features,
            spec=spec.digest,
            architecture=model.architecture,
            holdout_from=split.holdout_from,
            groups=len(np.unique(split.everything.group)),
            parameters=best.parameters,
            epochs=epochs,
            trials=len(trials),
            pruned=sum(trial.pruned for trial in trials),
            parity=parity,
            reason=reason,
            reason_text=reason_text,
            seconds=round(time.monotonic() - started, 1),
        )
        write_table(work.features, rows)
        write_json(work.trained, trained)
    return trained


def split_rows(spec: ModelSpec, everything: Examples, retrain: bool) -> Split:
    """A retrained model must know the recent past, so it holds out less of it."""
    evaluation = spec.evaluation
    fraction = evaluation.retrain_train_fraction if retrain else evaluation.train_fraction
    holdout = first_later_group(everything.group, fraction)
    training = everything.group[everything.group < holdout]
    validation = first_later_group(training, 1 - spec.tuning.validation_fraction)
    return Split(everything, holdout, validation)


def study_name(spec: ModelSpec, revision: DataRevision, provenance: Provenance, split: Split) -> str:
    """Same data, spec, code and split: the same search, which goes on after a kill."""
    parts = [revision.files, spec.digest, provenance.model_code, provenance.features, split.holdout_from]
    text = json.dumps(parts, sort_keys=True)
    return f"{spec.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _tune(spec, split, ports, run, build, suggest, study, say) -> tuple[Trial, list[Trial]]:
    metric = spec.gate.improvement.metric
    maximise = metric not in LOWER_IS_BETTER
    pick = max if maximise else min
    learn, validation = split.learn, split.validation
    seen: list[Trial] = []

    def objective(parameters: dict[str, Any], report: Callable[[int, float], None]) -> float:
        values: list[float] = []

        def progress(epoch: int, metrics) -> None:
            values.append(metrics[f"validation_{metric}"])
            report(epoch, values[-1])

        model = build(spec.features.names, parameters, spec.tuning.seed)
        model.fit(learn, validation, spec.tuning.epochs, progress)
        return pick(values)

    def done(trial: Trial) -> None:
        seen.append(trial)
        _log_trial(spec, ports.tracker, run, trial, metric)
        known = [one.value for one in seen if one.value is not None]
        value = f"{trial.value:.4f}" if trial.value is not None else "pruned"
        best = f" best {pick(known):.4f}" if known else ""
        pruned = sum(one.pruned for one in seen)
        say(f"trial {len(seen)}/{spec.tuning.trials} {metric} {value}{best} (pruned: {pruned})")

    return ports.tuner.tune(study, spec.tuning, maximise, suggest, objective, done), seen


def _log_trial(spec: ModelSpec, tracker: Tracker, run: Run, trial: Trial, metric: str) -> None:
    tags = {"trial": str(trial.number), "pruned": str(trial.pruned).lower()}
    with tracker.run(spec.name, f"trial {trial.number}", tags, parent=run.run_id) as nested:
        nested.log(
            params=trial.parameters,
            metrics={} if trial.value is None else {metric: trial.value},
            curve=[{f"validation_{metric}": value} for value in trial.curve],
        )


def _fit(spec: ModelSpec, split: Split, build, best: Trial):
    """Learn the number of epochs on the validation rows, then fit on all training rows for so many."""
    curve: list[dict[str, float]] = []
    chosen = build(spec.features.names, best.parameters, spec.tuning.seed)
    epochs = chosen.fit(
        split.learn, split.validation, spec.tuning.epochs, lambda _, metrics: curve.append(dict(metrics))
    )
    final = build(spec.features.names, best.parameters, spec.tuning.seed)
    final.fit(split.training, None, epochs, lambda *_: None)
    return final, epochs, curve


def _export(spec: ModelSpec, model, split: Split, folder: Path, scorer: Scorer) -> float:
    model.export(folder / "model.onnx")
    features = split.everything.features
    parity = float(np.abs(model.predict(features) - scorer.score(folder, features)).max())
    if not parity <= spec.gate.parity:
        raise ParityError(
            f"{spec.name}: the exported model differs by {parity:.2e} from the trained one, "
            f"more than gate.parity {spec.gate.parity:.0e}",
            hint="look for an operator that exports differently; nothing was kept",
        )
    return parity


def _capsule(spec, revision, provenance, best, epochs, folder: Path) -> Capsule:
    return Capsule(
        code=provenance.code,
        data=revision.files,
        features=provenance.features,
        spec=spec.digest,
        parameters={**best.parameters, "epochs": epochs, "seed": spec.tuning.seed},
        constraints=provenance.constraints,
        model=hashlib.sha256((folder / "model.onnx").read_bytes()).hexdigest(),
    )


def _describe(spec: ModelSpec, model, capsule: Capsule, folder: Path) -> None:
    manifest = Manifest(
        model=spec.name,
        digest=capsule.model,
        capsule=capsule.hash,
        feature_service=spec.features.service,
        entities=spec.features.entities,
        request=dict(spec.features.request),
        features=spec.features.names,
        columns=spec.features.columns,
        target=spec.target.column,
        threshold=spec.target.threshold,
        architecture=model.architecture,
        framework=model.framework,
        parameters=model.parameter_count(),
        bytes=(folder / "model.onnx").stat().st_size,
    )
    write_json(folder / "manifest.json", manifest)


def _reference(spec: ModelSpec, rows: pd.DataFrame, split: Split, folder: Path, scorer: Scorer):
    """Holdout rows only: on rows that it learnt from a model looks better than it will ever be again."""
    recent = (split.everything.group >= split.holdout_from).nonzero()[0][-REFERENCE_ROWS:]
    columns = [*spec.features.names, spec.target.column, spec.evaluation.group]
    reference = rows.iloc[recent][columns].reset_index(drop=True)
    return reference.assign(score=scorer.score(folder, split.everything.features[recent]))


def _settings(spec: ModelSpec, split: Split) -> dict[str, Any]:
    return {
        "tuning.trials": spec.tuning.trials,
        "tuning.epochs": spec.tuning.epochs,
        "tuning.seed": spec.tuning.seed,
        "holdout_from": split.holdout_from,
        "validation_from": split.validation_from,
    }


def _log(run, ports, study, aside: Path, best, epochs, curve, capsule, parity, model, provenance) -> None:
    run.log(
        params={**best.parameters, "epochs": epochs},
        metrics={"parity.max_abs": parity},
        tags={
            "capsule": capsule.hash,
            "digest": capsule.model,
            "architecture": model.architecture,
            "features_hash": provenance.features,
            "code": provenance.code,
        },
        curve=curve,
    )
    ports.figures.events(aside / "tensorboard", curve)
    run.artifact(aside / "tensorboard", "tensorboard")
    write_json(aside / "capsule.json", capsule)
    run.artifact(aside / "capsule.json")
    for plot in ports.tuner.plots(study, aside / "tuning"):
        run.artifact(plot, "tuning")


def _folder(work: Workdir) -> Path:
    work.folder.mkdir(parents=True, exist_ok=True)
    return work.folder


def _replace(source: Path, target: Path) -> None:
    import shutil

    if target.exists():
        shutil.rmtree(target)
    shutil.move(source, target)
