"""Fit the final model with the parameters of the best trial."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from perennial.core.spec import ModelSpec
from perennial.core.training.tuning import Trial
from perennial.flows.training.training_data import TimeSplit

Build = Callable[[tuple[str, ...], dict[str, Any], int], Any]
"""A model class: feature names, parameters, seed -> perennial.models.base.Model."""
Suggest = Callable[[Any], dict[str, Any]]
"""The search space of a model class: a trial of the tuner -> parameters."""


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
    epochs = build(names, best.parameters, seed).fit(
        split.learn, split.validation, spec.tuning.epochs, lambda _, metrics: curve.append(dict(metrics))
    )
    final = build(names, best.parameters, seed)
    final.fit(split.training, None, epochs, lambda *_: None)
    return Fitted(final, best, epochs, curve)
