"""Search the parameters of a model on the rows before its holdout, then fit the final model with the best."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from perennial.core.shared_search import SharedSearch
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Task
from perennial.core.training.artifacts import Trial
from perennial.core.training.capsule import Provenance
from perennial.core.training.examples import Examples
from perennial.core.training.leaderboard import TEMPLATE
from perennial.errors import DataError
from perennial.flows.training.training_data import TimeSplit
from perennial.ports import Run, Tracker, Tuner

Build = Callable[[tuple[str, ...], dict[str, Any], int, Task], Any]
"""A model class: feature names, parameters, seed, task -> perennial.models.base.Model."""
Suggest = Callable[[Any], dict[str, Any]]
"""The search space of a model class: a trial of the tuner -> parameters."""


def study_name(spec: ModelSpec, files: Mapping[str, str], provenance: Provenance, split: TimeSplit) -> str:
    """Return the name of the search: the same data, spec, code and split continue the same search.

    Args:
        files: file of the data revision -> its hash.
    """
    parts = [dict(files), spec.digest, provenance.model_code, provenance.features, split.holdout_from]
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
    first: Sequence[Mapping[str, Any]] = (),
    shared: SharedSearch | None = None,
) -> tuple[Trial, list[Trial]]:
    """Return the best trial and all trials; log each as a nested run and report it by `say`."""
    metric = spec.gate.improvement.metric
    maximise = not spec.task.metrics[metric].lower_is_better
    pick = max if maximise else min
    trials: list[Trial] = []

    def report_trial(trial: Trial) -> None:
        trials.append(trial)
        _log_trial(spec, tracker, run, trial, metric)
        values = [done.value for done in trials if done.value is not None]
        value = f"{trial.value:.4f}" if trial.value is not None else "pruned"
        best = f" best {pick(values):.4f}" if values else ""
        pruned = sum(done.pruned for done in trials)
        named = f" {trial.parameters[TEMPLATE]}" if TEMPLATE in trial.parameters else ""
        say(f"trial {len(trials)}/{spec.tuning.trials}{named} {metric} {value}{best} (pruned: {pruned})")

    objective = objective_of(spec, split, build)
    best = tuner.tune(study, spec.tuning, maximise, suggest, objective, report_trial, first, shared)
    return best, trials


def objective_of(
    spec: ModelSpec, split: TimeSplit, build: Build
) -> Callable[[dict[str, Any], Callable[[int, float], None]], float]:
    """Return the function that fits once with given parameters and returns the mean metric of the folds."""
    metric, folds = spec.gate.improvement.metric, split.folds

    def objective(parameters: dict[str, Any], report: Callable[[int, float], None]) -> float:
        judged = [
            judge(parameters, learn, validation, report, fold * spec.tuning.epochs)
            for fold, (learn, validation) in enumerate(folds)
        ]
        return sum(judged) / len(judged)

    def judge(
        parameters: dict[str, Any],
        learn: Examples,
        validation: Examples,
        report: Callable[[int, float], None],
        first: int,
    ) -> float:
        values: list[float] = []

        def progress(epoch: int, metrics: Mapping[str, float]) -> None:
            values.append(_validated(spec, model, validation)[f"validation_{metric}"])
            report(first + epoch, values[-1])

        model = build(spec.features.names, parameters, spec.tuning.seed, spec.task)
        kept: int = model.fit(learn, validation, spec.tuning.epochs, progress)
        if not values:  # a model that is not trained in epochs
            progress(0, {})
        return values[min(kept, len(values)) - 1]

    return objective


def _log_trial(spec: ModelSpec, tracker: Tracker, run: Run, trial: Trial, metric: str) -> None:
    tags = {"trial": str(trial.number), "pruned": str(trial.pruned).lower()}
    with tracker.run(spec.name, f"trial {trial.number}", tags, parent=run.run_id) as nested:
        nested.log(
            params=trial.parameters,
            metrics={} if trial.value is None else {metric: trial.value},
            curve=[{f"validation_{metric}": value} for value in trial.curve],
        )


@dataclass(frozen=True)
class Fitted:
    """The final model, and the fit that chose its number of epochs."""

    model: Any
    best: Trial
    epochs: int
    curve: list[dict[str, float]]
    """Metrics per epoch on the validation rows, of the fit that chose the number of epochs."""


def fit(spec: ModelSpec, split: TimeSplit, build: Build, best: Trial) -> Fitted:
    """Choose the number of epochs on the validation rows, then fit all training rows for so many epochs."""
    names, seed = spec.features.names, spec.tuning.seed
    curve: list[dict[str, float]] = []
    validation, chosen = split.validation, build(names, best.parameters, seed, spec.task)

    def progress(epoch: int, metrics: Mapping[str, float]) -> None:
        curve.append({**metrics, **_validated(spec, chosen, validation)})

    epochs = chosen.fit(split.learn, validation, spec.tuning.epochs, progress)
    if not curve:
        progress(0, {})
    final = fit_once(build, names, best.parameters, seed, spec.task, split.training, epochs)
    return Fitted(final, best, epochs, curve)


def fit_once(
    build: Build,
    names: tuple[str, ...],
    parameters: dict[str, Any],
    seed: int,
    task: Task,
    learnt: Examples,
    epochs: int,
) -> Any:
    """Return a model that is fitted for so many epochs."""
    model = build(names, parameters, seed, task)
    model.fit(learnt, None, epochs, lambda *_: None)
    return model


def _validated(spec: ModelSpec, model: Any, validation: Examples) -> dict[str, float]:
    """Measure a model as it is now on the validation rows.

    Raises:
        WrongAnswer: an answer is not one of the kind of task.
        DataError: the rows do not define the metric that the search improves.
    """
    answer = model.predict(validation.features)
    measured = spec.task.scored(validation.target, answer, validation.group, validation.features).measure()
    figures = {f"validation_{name}": value for name, value in measured.items() if not np.isnan(value)}
    if f"validation_{spec.gate.improvement.metric}" not in figures:
        raise DataError(
            f"{spec.name}: {spec.gate.improvement.metric} cannot be measured on the {len(validation)} validation "
            "rows: all have the same target",
            hint="bring more data, or raise tuning.validation_fraction",
        )
    return figures
