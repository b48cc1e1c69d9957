"""Put a foreign ONNX graph into the form that is served: `features` [batch, n] in, the output of the task out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from perennial.adapters.importing.onnx_model import inputs_of
from perennial.core.input_spec import InputSpec
from perennial.core.tasks import Task
from perennial.core.tasks.values import Label
from perennial.core.training.imported import Guard, ServedModel, answer_order
from perennial.errors import ModelFileError

INPUT, GUARDED = "features", "guarded_features"
PREFIX = "given_"
ML = "ai.onnx.ml"
FLOATS = ("f",)
USUAL = ("probabilities", "output_probability", "probability", "score", "value", "variable")
"""Names of outputs as exporters write them, where several would fit."""


def served_form(
    content: bytes,
    inputs: Mapping[str, InputSpec],
    features: Sequence[str],
    outputs: Mapping[str, np.ndarray],
    task: Task,
    output: str | None,
    classes: Sequence[Label] | None,
    guard: Guard | None = None,
) -> ServedModel:
    """Return the file to serve, and the answers of the given model as the task has them.

    A graph that has this form already is served byte for byte.

    Args:
        inputs: columns of the model, in its order. features: the same columns in the order in which they are served.
        outputs: of the given model on some rows, by name.
        output: name of the output to serve; None to choose.
        classes: labels of the probabilities, in order; None where nobody has said.
        guard: bounds of `features`, where the model alone does not give a valid answer to every input.

    Raises:
        ModelFileError: no output, or more than one, could be the answer; or the classes are not those of the task.
    """
    model = onnx.load_model_from_string(content)
    name = _chosen(outputs, task, output)
    values = outputs[name]
    taken, order, words = _columns(values, task, classes)
    answers = values if values.ndim == 1 else values[:, order] if task.width() else values[:, taken]
    given = inputs_of(model, "the model")
    (first, element, _, rank) = given[0]
    in_order = list(inputs) == list(features)
    is_served = (
        guard is None and in_order and (first, element, rank, len(given)) == (INPUT, TensorProto.FLOAT, 2, 1)
    )
    shape = 2 if task.width() else 1
    if is_served and name == task.output and values.ndim == shape and order == sorted(order):
        return ServedModel(content, answers, words, _numbers(model))
    made = _wrapped(model, inputs, features, given, name, values, taken, order, task, guard)
    return ServedModel(made.SerializeToString(deterministic=True), answers, words, _numbers(model))


def _chosen(outputs: Mapping[str, np.ndarray], task: Task, wanted: str | None) -> str:
    shapes = {name: list(value.shape[1:]) for name, value in outputs.items()}
    listed = ", ".join(f"{name} {['batch', *shape]}" for name, shape in shapes.items())
    if wanted is not None:
        if wanted not in outputs or not _fits(outputs[wanted], task):
            raise ModelFileError(f"the output {wanted!r} is not {task.valid}", hint=f"the model has {listed}")
        return wanted
    fitting = [name for name, value in outputs.items() if _fits(value, task)]
    usual = [name for name in (task.output, *USUAL) if name in fitting]
    if len(fitting) > 1 and not usual:
        raise ModelFileError(f"several outputs could be the answer: {listed}", hint="--output NAME names it")
    if not fitting:
        raise ModelFileError(
            f"no output of the model is {task.valid}: it has {listed or 'no numbers'}",
            hint=f"export the {task.output} of the task {task.kind}, not only the decision",
        )
    return usual[0] if usual else fitting[0]


def _fits(value: np.ndarray, task: Task) -> bool:
    if value.dtype.kind not in FLOATS or value.ndim not in (1, 2):
        return False
    width = 1 if value.ndim == 1 else value.shape[1]
    classes = task.width()
    if classes is not None:
        return value.ndim == 2 and width == classes
    return width == 1 or (width == 2 and task.has_positive)


def _columns(values: np.ndarray, task: Task, classes: Sequence[Label] | None) -> tuple[int, list[int], str]:
    """Return the column of a single answer, the order of several, and both in words."""
    width = 1 if values.ndim == 1 else values.shape[1]
    if width == 1:
        what = "the probability of the positive value" if task.has_positive else "the value"
        return 0, [0], f"the output is taken for {what}"
    labels = list(task.labels) or [0, 1]
    if classes is None:
        order = list(range(width))
        words = f"the file does not say which probability is which: taken in the order {_named(labels)}"
    else:
        order = answer_order(classes, task)
        words = f"probabilities of {_named([classes[place] for place in order])}, by the labels of the model"
    return order[-1], order, words


def _numbers(model: Any) -> int:
    """Return how many numbers a graph holds: its tensors, and the lists of numbers of its operators."""
    held = sum(int(np.prod(tensor.dims)) for tensor in model.graph.initializer)
    lists = (attribute.floats for node in model.graph.node for attribute in node.attribute)
    return held + sum(map(len, lists))


def _named(labels: Sequence[Label]) -> str:
    return ", ".join(map(repr, labels))


def _wrapped(
    model: Any,
    inputs: Mapping[str, InputSpec],
    features: Sequence[str],
    given: Sequence[tuple[str, int, int | None, int]],
    output: str,
    values: np.ndarray,
    taken: int,
    order: list[int],
    task: Task,
    guard: Guard | None,
) -> Any:
    """Return the graph with `features` before its inputs and the output of the task behind its output."""
    made = onnx.compose.add_prefix(model, PREFIX)
    graph, before = made.graph, []
    names, matrix = list(features), INPUT
    if guard is not None:
        before += _guarding(guard)
        matrix = GUARDED
    numbers = matrix
    by_name = len(given) > 1 or given[0][1] == TensorProto.STRING
    if not by_name and list(inputs) != names:
        before += _constant("order_of_columns", np.array([names.index(name) for name in inputs]))
        before.append(helper.make_node("Gather", [matrix, "order_of_columns"], ["columns_in_order"], axis=1))
        matrix = "columns_in_order"
    for name, element, _, rank in given:
        target, source = PREFIX + name, matrix
        if by_name:
            place = np.array(names.index(name)) if rank == 1 else np.array([names.index(name)])
            before += _constant(f"place_of_{name}", place)
            source = f"column_{name}"
            # A category keeps its code: one that is not known is a missing value, not the nearest category.
            of = INPUT if element == TensorProto.STRING else numbers
            before.append(helper.make_node("Gather", [of, f"place_of_{name}"], [source], axis=1))
        if element == TensorProto.STRING:
            before.append(_texts(made, inputs[name], source, target))
        elif element == TensorProto.FLOAT:
            before.append(helper.make_node("Identity", [source], [target]))
        else:
            before.append(helper.make_node("Cast", [source], [target], to=element))
    after, result = [], PREFIX + output
    if values.dtype == np.float64:
        after.append(helper.make_node("Cast", [result], ["as_float"], to=TensorProto.FLOAT))
        result = "as_float"
    if task.width() is not None:
        after += _constant("order_of_classes", np.array(order))
        after.append(helper.make_node("Gather", [result, "order_of_classes"], [task.output], axis=1))
    elif values.ndim == 2:
        after += _constant("taken_column", np.array(taken))
        after.append(helper.make_node("Gather", [result, "taken_column"], [task.output], axis=1))
    else:
        after.append(helper.make_node("Identity", [result], [task.output]))
    nodes = [*before, *graph.node, *after]
    initial = {tensor.name for tensor in graph.initializer}
    kept = [value for value in graph.input if value.name in initial]
    shape = ["batch"] if task.width() is None else ["batch", task.width()]
    for field in (graph.node, graph.input, graph.output):
        del field[:]
    graph.node.extend(nodes)
    graph.input.extend(
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", len(names)]), *kept]
    )
    graph.output.extend([helper.make_tensor_value_info(task.output, TensorProto.FLOAT, shape)])
    return made


def _guarding(guard: Guard) -> list[Any]:
    nodes = [
        helper.make_node("Constant", [], [name], value=onnx.numpy_helper.from_array(value, name))
        for name, value in (("lowest", guard.lowest), ("highest", guard.highest), ("usual", guard.usual))
    ]
    return [
        *nodes,
        helper.make_node("IsNaN", [INPUT], ["is_missing"]),
        helper.make_node("Where", ["is_missing", "usual", INPUT], ["filled"]),
        helper.make_node("Max", ["filled", "lowest"], ["not_below"]),
        helper.make_node("Min", ["not_below", "highest"], [GUARDED]),
    ]


def _constant(name: str, value: np.ndarray) -> list[Any]:
    tensor = onnx.numpy_helper.from_array(value.astype(np.int64), name)
    return [helper.make_node("Constant", [], [name], value=tensor)]


def _texts(model: Any, spec: InputSpec, source: str, target: str) -> Any:
    """Return the node from the code of a category to its text; a missing value is the empty text."""
    versions = {given.domain: given for given in model.opset_import}
    if ML not in versions:
        model.opset_import.append(helper.make_opsetid(ML, 3))
    elif versions[ML].version < 2:
        if any(node.domain == ML and node.op_type in CHANGED for node in model.graph.node):
            raise ModelFileError(
                f"the model uses {ML} version 1, which has no texts of codes",
                hint="export it with a newer opset",
            )
        versions[ML].version = 2
    return helper.make_node(
        "LabelEncoder", [source], [target], domain=ML,
        keys_floats=[float(code) for code in range(len(spec.categories))],
        values_strings=list(spec.categories), default_string="",
    )  # fmt: skip


CHANGED = frozenset({"LabelEncoder"})
"""Operators whose meaning differs between version 1 and 2 of ai.onnx.ml."""
