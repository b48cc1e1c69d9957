"""The base class of models: suggest, fit, predict, export. A new model is a module that implements it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from perennial.core.input_spec import InputSpec
from perennial.core.tasks import Task
from perennial.core.training.examples import Examples

__all__ = ["Examples", "Model", "Progress", "Task"]

Progress = Callable[[int, Mapping[str, float]], None]
"""Called after each epoch with its number (from 0) and what the model knows itself, such as `train_loss`. The platform
then measures `predict` on the validation rows. It may raise to prune the trial. A model that is not trained in epochs
need not call it."""


class Model(ABC):
    """A trainable model. All randomness comes from `seed`: the same input gives the same model.

    Args:
        inputs: type of each feature where the caller sends them (a category is its code); None with a feature
            service, whose values are numbers.
    """

    architecture: ClassVar[str]
    """Name of structure and input schema; another name makes the next version a MAJOR version."""
    framework: ClassVar[str] = "pytorch"
    distributed: ClassVar[bool] = False
    """True where `fit` shares the work with the other processes of a `torch.distributed` group (`training.workers`)."""

    def __init__(
        self,
        feature_names: tuple[str, ...],
        parameters: Mapping[str, Any],
        seed: int,
        task: Task,
        inputs: Mapping[str, InputSpec] | None = None,
    ) -> None:
        self.feature_names = feature_names
        self.task = task
        self.inputs = dict(inputs or {})
        self.parameters = dict(parameters)
        self.seed = seed

    @staticmethod
    @abstractmethod
    def suggest(trial: Any) -> dict[str, Any]:
        """Draw parameters from an Optuna trial: the search space of the model."""

    @abstractmethod
    def fit(self, train: Examples, validation: Examples | None, epochs: int, progress: Progress) -> int:
        """Train at most `epochs` epochs and return the number of epochs of the kept state.

        `train.target` holds the targets as numbers, as `task.targets` returns them. With `validation` (later in time
        than `train`) the best epoch on it is kept. Without it exactly
        `epochs` epochs are trained: the final fit on all rows, when the best number is known.
        """

    @abstractmethod
    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the answers, float32 [n] or [n, k] as `task.valid` says, of float32 [n, features]; NaN is allowed."""

    @abstractmethod
    def export(self, path: Path) -> None:
        """Write an ONNX file: input `features` float32 [batch, features] with NaN allowed and all
        preprocessing inside; output named `task.output`, float32 [batch] or [batch, k]."""

    @abstractmethod
    def parameter_count(self) -> int:
        """Return the number of trainable parameters."""

    def native(self) -> Any | None:
        """Return the object of the framework for the tracker, or None."""
        return None
