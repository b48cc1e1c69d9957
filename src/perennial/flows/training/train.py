"""Join, tune, fit, export, log: from prepared data to one exported model and its run."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perennial.core.evaluation.figures_hash import PARITY
from perennial.core.spec import ModelSpec, Reason
from perennial.core.training.artifacts import Trained
from perennial.core.training.capsule import Capsule, Provenance
from perennial.core.training.data import DataRevision, Validation
from perennial.core.training.tuning import Trial
from perennial.errors import ParityError, ValidationFailed
from perennial.flows.training.package import make_capsule, write_background, write_manifest, write_reference
from perennial.flows.training.point_in_time import as_examples, join
from perennial.flows.training.prepare import DataSource
from perennial.flows.training.tune import Build, Suggest, TimeSplit, search, split_rows, study_name
from perennial.flows.training.workdir import Workdir, read_record, read_table, write_json, write_table
from perennial.ports import Features, Figures, Registry, Run, Scorer, Tracker, Tuner


@dataclass(frozen=True)
class TrainPorts:
    features: Features
    tracker: Tracker
    tuner: Tuner
    registry: Registry
    scorer: Scorer
    figures: Figures


@dataclass(frozen=True)
class Fitted:
    """The final model and how it came about."""

    model: Any
    best: Trial
    epochs: int
    curve: list[dict[str, float]]
    """Metrics per epoch on the validation rows, of the fit that chose the number of epochs."""

    def parameters(self, seed: int) -> dict[str, Any]:
        return {**self.best.parameters, "epochs": self.epochs, "seed": seed}


def train(
    spec: ModelSpec,
    work: Workdir,
    ports: TrainPorts,
    build: Build,
    suggest: Suggest,
    provenance: Provenance,
    reason: Reason,
    reason_text: str,
    say: Callable[[str], None],
) -> Trained:
    """Train one model on the prepared data of `work`.

    Killed and repeated, the tuning goes on where it stopped; the interrupted run stays in the tracker as
    what it is.

    Args:
        build: the model class; `suggest` is its search space.

    Raises:
        DatasetMissing: `prepare` or `validate` has not run. ValidationFailed: for other data than this.
        DataError: too little history, or only one verdict.
        ParityError: the exported model answers otherwise than the trained one; nothing is kept.
        TrackerUnavailable: the tracker is down; nothing has been trained.
    """
    started = time.monotonic()
    revision = _validated(work)
    source = read_record(work.source, DataSource, "prepare").source
    examples = read_table(work.examples, "prepare")
    champion = ports.registry.find(spec.name, "champion")
    rows = join(spec, examples, ports.features, work.read_views())
    split = split_rows(spec, as_examples(spec, rows), retrain=champion is not None)
    tags = {
        "reason": reason.value,
        "reason.text": reason_text,
        "data.revision": revision.revision,
        "data.source": source,
    }
    with ports.tracker.run(spec.name, f"{spec.name} {reason.value}", tags) as run:
        learnt, total = len(split.training), len(split.everything)
        say(f"run {run.run_id}: {learnt} of {total} rows train, from {spec.evaluation.group} "
            f"{split.holdout_from} on they judge")  # fmt: skip
        run.log(params=_settings(spec, split))
        run.dataset(revision, rows, context="training")
        study = study_name(spec, revision, provenance, split)
        best, trials = search(spec, split, ports.tuner, ports.tracker, run, build, suggest, study, say)
        fitted = _fit(spec, split, build, best)
        with tempfile.TemporaryDirectory(dir=work.folder) as aside:
            folder = Path(aside) / "model"
            folder.mkdir()
            parity = _export(spec, fitted.model, split, folder, ports.scorer)
            parameters = fitted.parameters(spec.tuning.seed)
            capsule = make_capsule(spec, revision, source, provenance, parameters, folder)
            explanation = write_background(spec, split, folder)
            write_manifest(spec, fitted.model, capsule, explanation, folder)
            write_reference(spec, rows, split, folder, ports.scorer)
            example = split.everything.features[-5:]
            answer = ports.scorer.score(folder, example)
            uri = run.model(folder, fitted.model.native(), example, answer)
            _log(run, fitted, capsule, parity)
            _log_files(run, ports, study, fitted, capsule, Path(aside))
            run.artifact(work.data_docs, "data_docs")
            # Evaluated and registered was the model before: what is left of it would be taken for this one's.
            work.forget_evaluation()
            _replace(folder, work.model)
        trained = Trained(
            model=spec.name,
            run_id=run.run_id,
            model_uri=uri,
            digest=capsule.model,
            capsule=capsule.hash,
            revision=revision.revision,
            source=source,
            code=provenance.code,
            features_hash=provenance.features,
            spec=spec.digest,
            architecture=fitted.model.architecture,
            holdout_from=split.holdout_from,
            groups=len(np.unique(split.everything.group)),
            parameters=best.parameters,
            epochs=fitted.epochs,
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


def _validated(work: Workdir) -> DataRevision:
    revision = read_record(work.revision, DataRevision, "prepare")
    checked = read_record(work.validation, Validation, "validate")
    if checked.revision != revision.revision:
        raise ValidationFailed(
            f"{work.folder}: checked is the data revision {checked.revision[:12]}, "
            f"prepared is {revision.revision[:12]}",
            hint="run `perennial validate` again",
        )
    return revision


def _fit(spec: ModelSpec, split: TimeSplit, build: Build, best: Trial) -> Fitted:
    """Learn the number of epochs on the validation rows, then fit on all training rows for so many."""
    curve: list[dict[str, float]] = []
    chosen = build(spec.features.names, best.parameters, spec.tuning.seed)
    epochs = chosen.fit(
        split.learn, split.validation, spec.tuning.epochs, lambda _, metrics: curve.append(dict(metrics))
    )
    final = build(spec.features.names, best.parameters, spec.tuning.seed)
    final.fit(split.training, None, epochs, lambda *_: None)
    return Fitted(final, best, epochs, curve)


def _export(spec: ModelSpec, model: Any, split: TimeSplit, folder: Path, scorer: Scorer) -> float:
    model.export(folder / "model.onnx")
    features = split.everything.features
    parity = float(np.abs(model.predict(features) - scorer.score(folder, features)).max())
    # Written so that NaN fails too.
    if not parity <= spec.gate.parity:
        raise ParityError(
            f"{spec.name}: the exported model differs by {parity:.2e} from the trained one, "
            f"more than gate.parity {spec.gate.parity:.0e}",
            hint="look for an operator that exports differently; nothing was kept",
        )
    return parity


def _settings(spec: ModelSpec, split: TimeSplit) -> dict[str, Any]:
    return {
        "tuning.trials": spec.tuning.trials,
        "tuning.epochs": spec.tuning.epochs,
        "tuning.seed": spec.tuning.seed,
        "holdout_from": split.holdout_from,
        "validation_from": split.validation_from,
    }


def _log(run: Run, fitted: Fitted, capsule: Capsule, parity: float) -> None:
    run.log(
        params={**fitted.best.parameters, "epochs": fitted.epochs},
        metrics={PARITY: parity},
        tags={
            "capsule": capsule.hash,
            "digest": capsule.model,
            "architecture": fitted.model.architecture,
            "features_hash": capsule.features,
            "code": capsule.code,
        },
        curve=fitted.curve,
    )


def _log_files(
    run: Run, ports: TrainPorts, study: str, fitted: Fitted, capsule: Capsule, aside: Path
) -> None:
    ports.figures.events(aside / "tensorboard", fitted.curve)
    run.artifact(aside / "tensorboard", "tensorboard")
    write_json(aside / "capsule.json", capsule)
    run.artifact(aside / "capsule.json")
    for plot in ports.tuner.plots(study, aside / "tuning"):
        run.artifact(plot, "tuning")


def _replace(source: Path, target: Path) -> None:
    if target.exists():
        shutil.rmtree(target)
    shutil.move(source, target)
