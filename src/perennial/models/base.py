"""The contract of a model: suggest, fit, predict, export. A new model is one module that fulfils it."""

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
    """One trainable model. Randomness comes from `seed` alone: the same input gives the same model."""

    architecture: ClassVar[str]
    """Names structure and input schema; another word makes the next version a MAJOR one."""
    framework: ClassVar[str] = "pytorch"

    def __init__(self, feature_names: tuple[str, ...], parameters: Mapping[str, Any], seed: int) -> None:
        self.feature_names = feature_names
        self.parameters = dict(parameters)
        self.seed = seed

    @staticmethod
    @abstractmethod
    def suggest(trial: Any) -> dict[str, Any]:
        """Ask an Optuna trial for parameters: the search space of the model."""

    @abstractmethod
    def fit(self, train: Examples, validation: Examples | None, epochs: int, progress: Progress) -> int:
        """Train at most `epochs` epochs and return how many the kept state has seen.

        With `validation` (later in time than `train`) the epoch that is best on it is kept. Without,
        exactly `epochs` epochs are trained: the last fit, on every row, once the right number is known.
        """

    @abstractmethod
    def predict(self, features: np.ndarray) -> np.ndarray:
        """float32 [n, features], NaN allowed -> float32 [n] in [0, 1]."""

    @abstractmethod
    def export(self, path: Path) -> None:
        """Write one ONNX file: input `features` float32 [batch, features] with NaN allowed and all
        preprocessing inside; output `score` float32 [batch]."""

    @abstractmethod
    def parameter_count(self) -> int: ...

    def native(self) -> Any | None:
        """The framework's own object for the tracker to keep beside the exported file; None for none."""
        return None
