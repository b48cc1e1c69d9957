"""Read a foreign ONNX file: its inputs, its classes, and what it answers, after the trial in a child process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import AttributeProto, TensorProto

from perennial.core.input_spec import InputKind, InputSpec
from perennial.core.tasks import Task
from perennial.core.tasks.values import Label
from perennial.core.training.imported import Description, TakenInput
from perennial.errors import ModelFileError
from perennial.serving.onnx import open_session

SECONDS = 120.0
NUMBERS = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.INT64: np.int64,
    TensorProto.INT32: np.int32,
    TensorProto.BOOL: np.bool_,
}
CLASS_ATTRIBUTES = ("classlabels_strings", "classlabels_int64s", "classlabels_ints")


class OnnxModel:
    """A foreign model as an ONNX file.

    Args:
        problem: says in a child process what is wrong with the bytes of a model file.
        names: of the columns of a single matrix, in order, where they are known.

    Raises:
        ModelFileError: the file is no sound model, or keeps its input or batch in a form that cannot be served.
    """

    def __init__(
        self, path: Path, problem: Callable[[bytes], str], names: tuple[str, ...] | None = None
    ) -> None:
        content = path.read_bytes()
        if said := problem(content):
            raise ModelFileError(f"{path} {said}", hint="export it with other operators, or smaller")
        self._path, self._names = path, names
        self._model = onnx.load_model_from_string(content)
        self._classes = without_maps(self._model)
        self._inputs = inputs_of(self._model, path)

    def describe(self) -> Description:
        maker = self._model.producer_name or NO_PRODUCER
        taken = tuple(TakenInput(name, _kind(kind), width) for name, kind, width, _ in self._inputs)
        classes = self._classes if self._classes is not None else class_labels(self._model)
        is_matrix = len(taken) == 1 and taken[0].kind is not InputKind.CATEGORY
        names = self._names if is_matrix else None
        return Description("onnx", f"onnx, written by {maker}", "imported/onnx", taken, names, classes)

    def convert(
        self, inputs: Mapping[str, InputSpec], features: np.ndarray, task: Task
    ) -> tuple[bytes, dict[str, np.ndarray]]:
        """Return the file, and its outputs on the holdout by name.

        Args:
            inputs: columns of the model, in its order.
            features: float32 [n, inputs], encoded as the spec says.
        """
        by_name = self.describe().by_name
        session = open_session(self._model.SerializeToString(), self._path)
        feed = {
            name: _fed(kind, rank, inputs, features, name if by_name else None)
            for name, kind, _, rank in self._inputs
        }
        return self._model.SerializeToString(), run(session, self._path, feed)


NO_PRODUCER = "an exporter that it does not name"


def run(
    session: onnxruntime.InferenceSession, path: Path, feed: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the outputs by name; raises ModelFileError where the model fails or takes too long."""
    options = onnxruntime.RunOptions()
    timer = threading.Timer(SECONDS, lambda: setattr(options, "terminate", True))
    timer.daemon = True
    timer.start()
    try:
        values = session.run(None, dict(feed), options)
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise ModelFileError(
            f"{path} fails on the holdout: {str(error).splitlines()[0][:300]}",
            hint="its inputs must have the names and types of the columns",
        ) from error
    finally:
        timer.cancel()
    return {node.name: value for node, value in zip(session.get_outputs(), values, strict=True)
            if isinstance(value, np.ndarray)}  # fmt: skip


def inputs_of(model: Any, path: Path) -> list[tuple[str, int, int | None, int]]:
    """Return name, element type, number of columns and rank of each input."""
    initial = {tensor.name for tensor in model.graph.initializer}
    inputs = []
    for given in model.graph.input:
        if given.name in initial:
            continue
        tensor = given.type.tensor_type
        sizes = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        if tensor.elem_type not in (*NUMBERS, TensorProto.STRING) or len(sizes) not in (1, 2):
            raise ModelFileError(
                f"{path}: the input {given.name} is no column and no matrix of numbers or texts",
                hint="only models over tables can be imported",
            )
        if sizes[0] not in (None, 0):
            raise ModelFileError(
                f"{path}: the input {given.name} takes exactly {sizes[0]} rows at a time",
                hint="export the model with a batch of any size",
            )
        inputs.append((given.name, tensor.elem_type, 1 if len(sizes) == 1 else sizes[1] or None, len(sizes)))
    if not inputs:
        raise ModelFileError(f"{path} has no input", hint="export the model again")
    if len(inputs) > 1 and any(width not in (1, None) for _, _, width, _ in inputs):
        raise ModelFileError(
            f"{path} has several inputs, and one of them has several columns",
            hint="export it with one matrix, or with an input for each column",
        )
    return inputs


def without_maps(model: Any) -> tuple[Label, ...] | None:
    """Take ZipMap, which answers a dictionary per row, off the end of a graph; return its classes, in order."""
    maps = [node for node in model.graph.node if node.op_type == "ZipMap"]
    if len(maps) != 1:
        return None
    (node,) = maps
    for output in model.graph.output:
        if output.name == node.output[0]:
            tensor = onnx.helper.make_tensor_value_info(node.input[0], TensorProto.FLOAT, None)
            output.CopyFrom(tensor)
    model.graph.node.remove(node)
    return _labels(node)


def class_labels(model: Any) -> tuple[Label, ...] | None:
    """Return the labels of the only classifier in a graph; None where there is none, or several."""
    label_sets = {labels for node in model.graph.node if (labels := _labels(node))}
    return label_sets.pop() if len(label_sets) == 1 else None


def _labels(node: Any) -> tuple[Label, ...] | None:
    for attribute in node.attribute:
        if attribute.name in CLASS_ATTRIBUTES and (attribute.strings or attribute.ints):
            if attribute.type == AttributeProto.STRINGS:
                return tuple(text.decode() for text in attribute.strings)
            return tuple(attribute.ints)
    return None


def _kind(element: int) -> InputKind | None:
    """Return the type of a column; None for float, which takes any number."""
    return {
        TensorProto.STRING: InputKind.CATEGORY,
        TensorProto.BOOL: InputKind.BOOL,
        TensorProto.INT64: InputKind.INT,
        TensorProto.INT32: InputKind.INT,
    }.get(element)


def _fed(
    element: int,
    rank: int,
    inputs: Mapping[str, InputSpec],
    features: np.ndarray,
    name: str | None,
) -> np.ndarray:
    """Return the values of an input as the model takes them; `name` is None for the whole matrix."""
    if name is None:
        return features.astype(NUMBERS[element])
    codes = features[:, list(inputs).index(name)]
    if element == TensorProto.STRING:
        texts = ["" if code != code else inputs[name].categories[int(code)] for code in codes.tolist()]
        values = np.array(texts, dtype=object)
    else:
        with np.errstate(invalid="ignore"):  # a missing value where the model takes whole numbers
            values = codes.astype(NUMBERS[element])
    return values if rank == 1 else values.reshape(-1, 1)
