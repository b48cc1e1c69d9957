"""Split the rows in time, and search parameters on the early part of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from perennial.core.evaluation.metrics import LOWER_IS_BETTER
from perennial.core.spec import ModelSpec
from perennial.core.training.capsule import Provenance
from perennial.core.training.data import DataRevision
from perennial.core.training.examples import Examples
from perennial.core.training.split import first_later_group
from perennial.core.training.tuning import Trial
from perennial.ports import Run, Tracker, Tuner

Build = Callable[[tuple[str, ...], dict[str, Any], int], Any]
"""A model class: feature names, parameters, seed -> perennial.models.base.Model."""
Suggest = Callable[[Any], dict[str, Any]]


@dataclass(frozen=True)
class TimeSplit:
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


def split_rows(spec: ModelSpec, everything: Examples, retrain: bool) -> TimeSplit:
    """A retrained model must know the recent past, so it holds out less of it."""
    evaluation = spec.evaluation
    fraction = evaluation.retrain_train_fraction if retrain else evaluation.train_fraction
    holdout = first_later_group(everything.group, fraction)
    training = everything.group[everything.group < holdout]
    validation = first_later_group(training, 1 - spec.tuning.validation_fraction)
    return TimeSplit(everything, holdout, validation)


def study_name(spec: ModelSpec, revision: DataRevision, provenance: Provenance, split: TimeSplit) -> str:
    """Same data, spec, code and split: the same search, which goes on after a kill."""
    parts = [revision.files, spec.digest, provenance.model_code, provenance.features, split.holdout_from]
    text = json.dumps(parts, sort_keys=True)
    return f"{spec.name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


def search(
    spec: ModelSpec,
    split: TimeSplit,
    tuner: Tuner,
    tracker: Tracker,
    run: Run,
    build: Build,
    suggest: Suggest,
    study: str,
    say: Callable[[str], None],
) -> tuple[Trial, list[Trial]]:
    """The best trial and all of them; each is a nested run of `run` and a line for the person who waits."""
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
        kept = model.fit(learn, validation, spec.tuning.epochs, progress)
        return values[kept - 1]

    def done(trial: Trial) -> None:
        seen.append(trial)
        _log_trial(spec, tracker, run, trial, metric)
        known = [one.value for one in seen if one.value is not None]
        value = f"{trial.value:.4f}" if trial.value is not None else "pruned"
        best = f" best {pick(known):.4f}" if known else ""
        pruned = sum(one.pruned for one in seen)
        say(f"trial {len(seen)}/{spec.tuning.trials} {metric} {value}{best} (pruned: {pruned})")

    return tuner.tune(study, spec.tuning, maximise, suggest, objective, done), seen


def _log_trial(spec: ModelSpec, tracker: Tracker, run: Run, trial: Trial, metric: str) -> None:
    tags = {"trial": str(trial.number), "pruned": str(trial.pruned).lower()}
    with tracker.run(spec.name, f"trial {trial.number}", tags, parent=run.run_id) as nested:
        nested.log(
            params=trial.parameters,
            metrics={} if trial.value is None else {metric: trial.value},
            curve=[{f"validation_{metric}": value} for value in trial.curve],
        )
