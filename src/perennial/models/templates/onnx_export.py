"""Export of a fitted pipeline as one ONNX graph, from bounded features to the answer of the kind of task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.pipeline import Pipeline

from perennial.core.tasks import Task

OPSETS = {"": 18, "ai.onnx.ml": 3}
ESTIMATED = "estimated"
"""Name of what the estimator answers: the converters' own name for it may be that of the file's output."""
LEARNT = ("coefficients", "intercepts", "nodes_values", "target_weights", "class_weights")
"""Attributes of ONNX-ML operators with the numbers that an estimator has learnt."""


def export_pipeline(
    pipeline: Pipeline,
    path: Path,
    task: Task,
    bounds: tuple[np.ndarray, np.ndarray],
    spread: np.ndarray | None,
) -> None:
    """Write the ONNX file: `features` float32 [batch, features] -> `task.output`.

    Args:
        bounds: lowest and highest value of each feature, [features] each; values outside count as these.
        spread: [classes of the estimator, answers], 1 where a class is an answer; None for a regressor.
    """
    model = _converted(pipeline, len(bounds[0]))
    graph = model.graph
    inner = graph.input[0].name
    first = [
        helper.make_node("Max", ["features", "lowest_values"], ["not_below"], name="not_below"),
        helper.make_node("Min", ["not_below", "highest_values"], [inner], name="bounded"),
    ]
    _rename_output(graph, graph.output[-1].name, ESTIMATED)
    answer, last = _answer(ESTIMATED, task, spread)
    constants = {"lowest_values": bounds[0], "highest_values": bounds[1]}
    constants |= {} if spread is None else {"spread": spread.astype(np.float32)}
    constants |= {} if task.width() is not None else {"answer_shape": np.array([-1], dtype=np.int64)}
    nodes = [*first, *graph.node, *last]
    held = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    width = task.width()
    served = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", len(bounds[0])])],
        [helper.make_tensor_value_info(answer, TensorProto.FLOAT, ["batch", *([width] if width else [])])],
        [*graph.initializer, *held],
    )
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    file = helper.make_model(served, opset_imports=opsets, ir_version=10, producer_name="perennial")
    onnx.checker.check_model(file)
    onnx.save(file, str(path))


def learnt_numbers(pipeline: Pipeline, features: int) -> int:
    """Return how many coefficients, thresholds and values of leaves the estimator has learnt."""
    nodes = _converted(pipeline, features).graph.node
    return sum(len(given.floats) for node in nodes for given in node.attribute if given.name in LEARNT)


def _answer(raw: str, task: Task, spread: np.ndarray | None) -> tuple[str, list[Any]]:
    """Return the name of the output, and the nodes from the estimator's output to it."""
    nodes = []
    if spread is not None:
        wanted = task.output if task.width() is not None else "positive"
        nodes.append(helper.make_node("MatMul", [raw, "spread"], [wanted], name="spread_classes"))
        raw = wanted
    if task.width() is None:
        flat = "flat" if spread is not None else task.output
        nodes.append(helper.make_node("Reshape", [raw, "answer_shape"], [flat], name="flatten"))
        if spread is not None:
            # A sum of float32 votes may exceed 1 in the last digit.
            constants = {"zero": 0.0, "one": 1.0}
            for name, value in constants.items():
                tensor = numpy_helper.from_array(np.array(value, dtype=np.float32), name)
                nodes.insert(0, helper.make_node("Constant", [], [name], value=tensor))
            nodes.append(helper.make_node("Clip", [flat, "zero", "one"], [task.output], name="clip"))
    return task.output, nodes


def _rename_output(graph: Any, old: str, new: str) -> None:
    for node in graph.node:
        for names in (node.input, node.output):
            for place, name in enumerate(names):
                if name == old:
                    names[place] = new


def _converted(pipeline: Pipeline, features: int) -> Any:
    """Convert encoder and estimator; the inner names of `features` and of the answer are not those of the file."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    estimator = pipeline.steps[-1][1]
    _register(estimator)
    options = {id(estimator): {"zipmap": False}} if hasattr(estimator, "predict_proba") else None
    converted = convert_sklearn(
        pipeline,
        name="pipeline",
        initial_types=[("encoder_input", FloatTensorType([None, features]))],
        final_types=None,
        options=options,
        target_opset=OPSETS,
    )
    if hasattr(estimator, "booster_"):  # LightGBM; the thresholds of the others are float32, or exported so
        _round_down(converted.graph, _thresholds(estimator.booster_.dump_model()["tree_info"]))
    return converted


def _round_down(graph: Any, exact: Mapping[tuple[int, float], float]) -> None:
    """Turn thresholds that were rounded up to float32 into the next float32 below.

    A float32 is at most a double threshold exactly when it is at most the largest float32 below that.

    Args:
        exact: (feature, its threshold as the nearest float32) -> the highest double that it stands for.
    """
    for node in graph.node:
        given = {attribute.name: attribute for attribute in node.attribute}
        if "nodes_values" not in given:
            continue
        values, features = given["nodes_values"].floats, given["nodes_featureids"].ints
        for place, (feature, value) in enumerate(zip(features, list(values), strict=True)):
            threshold = exact.get((feature, value))
            if threshold is not None and threshold < value:
                values[place] = float(np.nextafter(np.float32(value), np.float32(-np.inf)))


def _thresholds(trees: Sequence[Mapping[str, Any]]) -> dict[tuple[int, float], float]:
    highest: dict[tuple[int, float], float] = {}
    waiting = [tree["tree_structure"] for tree in trees]
    while waiting:
        node = waiting.pop()
        if "split_feature" in node:
            key = (int(node["split_feature"]), float(np.float32(node["threshold"])))
            highest[key] = max(float(node["threshold"]), highest.get(key, -np.inf))
            waiting += [node["left_child"], node["right_child"]]
    return highest


def _register(estimator: Any) -> None:
    """Tell skl2onnx the converter that onnxmltools has for an estimator of another library."""
    library = type(estimator).__module__.partition(".")[0]
    if library not in ("lightgbm", "xgboost"):
        return
    from skl2onnx import update_registered_converter
    from skl2onnx.common.shape_calculator import (
        calculate_linear_classifier_output_shapes,
        calculate_linear_regressor_output_shapes,
    )

    if library == "lightgbm":
        from onnxmltools.convert.lightgbm.operator_converters.LightGbm import convert_lightgbm as convert
    else:
        from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost as convert
    is_classifier = hasattr(estimator, "predict_proba")
    update_registered_converter(
        type(estimator),
        f"{library}{type(estimator).__name__}",
        calculate_linear_classifier_output_shapes
        if is_classifier
        else calculate_linear_regressor_output_shapes,
        convert,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]} if is_classifier else {},
    )
