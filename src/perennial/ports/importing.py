"""Ports of an import: readers of finished models, and the form that is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from perennial.core.input_spec import InputSpec
from perennial.core.tasks import Task
from perennial.core.tasks.values import Label
from perennial.core.training.imported import Description, Guard, ServedModel


class GivenModel(Protocol):
    """A reader of a finished model (`adapters.importing`)."""

    def describe(self) -> Description:
        """Return what the file says about its inputs and classes."""

    def convert(
        self, inputs: Mapping[str, InputSpec], features: np.ndarray, task: Task
    ) -> tuple[bytes, dict[str, np.ndarray]]:
        """Return the model as ONNX, and the outputs of the given model for `features` by name."""


class ServedForm(Protocol):
    """Puts an ONNX graph into the form that is served (`adapters.importing.served_form`)."""

    def __call__(
        self,
        content: bytes,
        inputs: Mapping[str, InputSpec],
        features: Sequence[str],
        outputs: Mapping[str, np.ndarray],
        task: Task,
        output: str | None,
        classes: Sequence[Label] | None,
        guard: Guard | None = None,
    ) -> ServedModel: ...
