"""Finished models that were trained elsewhere: what their files say, and what is known about them here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from perennial.core.input_spec import InputKind, InputSpec
from perennial.core.tasks.values import Label
from perennial.errors import ModelFileError

NOT_KNOWN = "not known"
"""Value of lineage fields of an imported version: nothing here has seen its training."""
FILE_TAG, TRAINED_TAG = "imported.file", "imported.trained"
"""Version tags: SHA-256 of the file as it was given, and where and by whom it was trained, as its importer says."""
ENTRYPOINT = "null  # nothing trains here: versions are imported"
"""Entrypoint in the spec of a model without a training, as YAML."""
RANGES = 10.0
"""Ranges of an input by which its values may leave that of the holdout, where a model needs bounds."""
LARGEST_BYTES = 256 << 20
"""Largest file of a model."""


def is_imported(tags: Mapping[str, str]) -> bool:
    """Return whether the version with these tags was trained elsewhere."""
    return FILE_TAG in tags


@dataclass(frozen=True)
class TakenInput:
    """An input that a model file names. A matrix of numbers is one input of several columns."""

    name: str
    kind: InputKind | None
    """Type of its values; None where any number will do."""
    width: int | None
    """Columns; None where the file leaves it open."""


@dataclass(frozen=True)
class Description:
    """Statements of a model file about itself."""

    format: str
    """onnx, skops or safetensors."""
    framework: str
    architecture: str
    inputs: tuple[TakenInput, ...]
    names: tuple[str, ...] | None = None
    """Names of the columns of a single matrix, in order; None where the file does not say."""
    classes: tuple[Label, ...] | None = None
    """Labels of the probabilities, in order; None where the file does not say."""
    typed: bool = True
    """The file says the types of its inputs."""

    @property
    def by_name(self) -> bool:
        """Return whether each column is an input of its own."""
        return len(self.inputs) > 1 or self.inputs[0].kind is InputKind.CATEGORY


@dataclass(frozen=True)
class Guard:
    """Bounds of the numbers that reach a model, float32 [inputs] each, and what stands for a missing one."""

    lowest: np.ndarray
    highest: np.ndarray
    usual: np.ndarray
    """NaN where the model itself gets the missing value."""

    @classmethod
    def around(cls, inputs: Mapping[str, InputSpec], features: np.ndarray) -> Self:
        """Return ten times the range of each input; a missing value that the spec refuses counts as the median."""
        known = [column[np.isfinite(column)] for column in features.T]
        known = [values if len(values) else np.zeros(1) for values in known]
        low, high = (np.array([pick(values) for values in known]) for pick in (np.min, np.max))
        margin = RANGES * np.maximum(high - low, 1e-6)
        usual = [np.median(values) if spec.missing == "refuse" else np.nan
                 for values, spec in zip(known, inputs.values(), strict=True)]  # fmt: skip
        single = np.float32
        return cls(
            (low - margin).astype(single), (high + margin).astype(single), np.array(usual, dtype=single)
        )


@dataclass(frozen=True)
class ServedModel:
    """A model in the form that is served, and what the given model answered on the holdout."""

    onnx: bytes
    answers: np.ndarray
    """As the task has them, [n] or [n, k]."""
    words: str
    """The outputs and classes that were chosen, in words."""
    parameters: int
    """Numbers in the file."""


def column_order(described: Description, given: Sequence[str], candidates: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that a model takes, in its order.

    Args:
        given: columns that a person has named; empty without.
        candidates: columns that could be inputs, in the order of the spec or of the table.

    Raises:
        ModelFileError: the file names other columns, or takes another number of them.
    """
    if described.by_name or described.names is not None:
        names = described.names or tuple(value.name for value in described.inputs)
        if given and sorted(given) != sorted(names):
            raise ModelFileError(
                f"--inputs names {', '.join(given)}; the model takes {', '.join(names)}",
                hint="leave --inputs out: the file names its inputs",
            )
        return names
    names, width = tuple(given or candidates), described.inputs[0].width
    if width is not None and len(names) != width:
        raise ModelFileError(
            f"the model takes {width} numbers, and there are {len(names)} inputs: {', '.join(names)}",
            hint="--inputs A,B,C names the columns in the order in which the model takes them",
        )
    return names


def check_types(described: Description, inputs: Mapping[str, InputSpec]) -> None:
    """Refuse inputs whose type is not that of the model; `inputs` has the columns of the model, in its order.

    Raises:
        ModelFileError: names each column with both types.
    """
    if not described.by_name or not described.typed:
        return  # a matrix of numbers: categories are the codes of the spec
    texts = InputKind.CATEGORY
    wrong = [
        f"{value.name} is {inputs[value.name].type.value}, the model takes {_words(value.kind)}"
        for value in described.inputs
        if (value.kind is texts) != (inputs[value.name].type is texts)
    ]
    if wrong:
        raise ModelFileError(
            "; ".join(wrong), hint="bring a holdout with the columns and types that the model was trained on"
        )


def answer_order(classes: Sequence[Any], task: Any) -> list[int]:
    """Return the place of each class of the task among the probabilities of a model.

    Args:
        classes: labels of the probabilities, in order.

    Raises:
        ModelFileError: the model has other classes than the task.
    """
    labels = task.labels
    places = [task.label(name) for name in classes]
    if None in places or sorted(map(int, places)) != list(range(len(labels))):
        raise ModelFileError(
            f"the model has the classes {', '.join(map(repr, classes))}; the task has "
            f"{', '.join(map(repr, labels))}",
            hint="--classes A,B,C says which probability is which; or correct `task` in the spec",
        )
    order = [0] * len(labels)
    for column, place in enumerate(places):
        order[int(place)] = column
    return order


def as_labels(texts: Sequence[str], labels: Sequence[Label]) -> tuple[Label, ...]:
    """Return the labels of a task that a person has written as texts."""
    by_text = {str(label): label for label in labels}
    return tuple(by_text.get(text, text) for text in texts)


def _words(kind: InputKind | None) -> str:
    return "a text" if kind is InputKind.CATEGORY else "a number" if kind is None else kind.value
