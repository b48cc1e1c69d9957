"""The base class of models: suggest, fit, predict, export. A new model is a module that implements it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from perennial.core.training.examples import Examples

__all__ = ["Examples", "Model", "Progress"]

Progress = Callable[[int, Mapping[str, float]], None]
"""Called after each epoch with its number (from 0) and its metrics: `train_loss`, and with validation rows
`validation_<metric>` for each of perennial.core.evaluation.metrics.METRICS. It may raise to prune the trial."""


class Model(ABC):
    """A trainable model. All randomness comes from `seed`: the same input gives the same model."""

    architecture: ClassVar[str]
    """Name of structure and input schema; another name makes the next version a MAJOR version."""
    framework: ClassVar[str] = "pytorch"

    def __init__(self, feature_names: tuple[str, ...], parameters: Mapping[str, Any], seed: int) -> None:
        self.feature_names = feature_names
        self.parameters = dict(parameters)
        self.seed = seed

    @staticmethod
    @abstractmethod
    def suggest(trial: Any) -> dict[str, Any]:
        """Draw parameters from an Optuna trial: the search space of the model."""

    @abstractmethod
    def fit(self, train: Examples, validation: Examples | None, epochs: int, progress: Progress) -> int:
        """Train at most `epochs` epochs and return the number of epochs of the kept state.

        With `validation` (later in time than `train`) the best epoch on it is kept. Without it exactly
        `epochs` epochs are trained: the final fit on all rows, when the best number is known.
        """

    @abstractmethod
    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the scores float32 [n] in [0, 1] of float32 [n, features]; NaN is allowed."""

    @abstractmethod
    def export(self, path: Path) -> None:
        """Write an ONNX file: input `features` float32 [batch, features] with NaN allowed and all
        preprocessing inside; output `score` float32 [batch]."""

    @abstractmethod
    def parameter_count(self) -> int:
        """Return the number of trainable parameters."""

    def native(self) -> Any | None:
        """Return the object of the framework for the tracker, or None."""
        return None
