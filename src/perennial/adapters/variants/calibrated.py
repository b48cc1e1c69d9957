"""Write a calibration behind the graph of a model file: the served file gives the calibrated answers itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import compose, helper, numpy_helper

from perennial.core.recalibration.calibration import FLAT, GREATEST, SMALLEST, Calibration, Form
from perennial.errors import NotRecalibrable

OLDEST = 13
"""Opset from which Softmax and ReduceSum mean what is written here."""
PREFIX = "trained/"
GIVEN = "uncalibrated"
Nodes = list[tuple[str, list[str], str]]
SCORE: Nodes = [
    ("Clip", [GIVEN, "smallest", "greatest"], "inside"),
    ("Sub", ["one", "inside"], "rest"),
    ("Div", ["inside", "rest"], "odds"),
    ("Log", ["odds"], "log_odds"),
    ("Mul", ["log_odds", "slope"], "sloped"),
    ("Add", ["sloped", "shift"], "shifted"),
    ("Sigmoid", ["shifted"], "wanted"),
    ("Sub", ["wanted", "inside"], "moved"),
    ("Clip", ["moved", "down", "largest"], "bounded"),
    ("Add", [GIVEN, "bounded"], "unclipped"),
    ("Clip", ["unclipped", "zero", "one"], ""),
]
CLASSES: Nodes = [
    ("Clip", [GIVEN, "smallest", "one"], "inside"),
    ("Log", ["inside"], "logs"),
    ("Mul", ["logs", "slope"], "sloped"),
    ("Add", ["sloped", "shift"], "shifted"),
    ("Softmax", ["shifted"], "wanted"),
    ("Sub", ["wanted", GIVEN], "moved"),
    ("Abs", ["moved"], "sizes"),
    ("ReduceSum", ["sizes", "last"], "twice"),
    ("Mul", ["twice", "half"], "distance"),
    ("Max", ["distance", "flat"], "divisor"),
    ("Div", ["largest", "divisor"], "share"),
    ("Min", ["share", "one"], "weight"),
    ("Mul", ["moved", "weight"], "bounded"),
    ("Add", [GIVEN, "bounded"], ""),
]
NUMBER: Nodes = [("Add", [GIVEN, "shift"], "")]
STEPS = {Form.SCORE: SCORE, Form.CLASSES: CLASSES, Form.NUMBER: NUMBER}


def write_calibrated(trained: Path, calibration: Calibration, output: str, path: Path) -> None:
    """Write the model file that gives the calibrated answers of another.

    Args:
        output: name of the output of answers.

    Raises:
        NotRecalibrable: the file is of an older opset, or has another output.
    """
    model = onnx.load(str(trained))
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST or [value.name for value in model.graph.output] != [output]:
        raise NotRecalibrable(
            f"{trained.name} is of opset {opset} with the outputs {[value.name for value in model.graph.output]}",
            hint=f"a calibration needs opset {OLDEST} and the one output {output!r}: export the model anew",
        )
    form = model.graph.output[0].type
    given, answered = (helper.make_value_info(name, form) for name in (GIVEN, output))
    steps = STEPS[calibration.form]
    nodes = [_node(kind, inputs, name or output) for kind, inputs, name in steps]
    used = {name for _, inputs, _ in steps for name in inputs}
    constants = [
        numpy_helper.from_array(value, name)
        for name, value in _constants(calibration).items()
        if name in used
    ]
    graph = helper.make_graph(nodes, "calibration", [given], [answered], constants)
    last = helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    first = compose.add_prefix(model, PREFIX, rename_inputs=False)
    onnx.save(compose.merge_models(first, last, io_map=[(PREFIX + output, GIVEN)]), str(path))


def _node(kind: str, inputs: list[str], name: str) -> onnx.NodeProto:
    settings = {"axis": -1} if kind == "Softmax" else {"keepdims": 1} if kind == "ReduceSum" else {}
    return helper.make_node(kind, inputs, [name], name=f"calibration/{name}", **settings)


def _constants(calibration: Calibration) -> dict[str, np.ndarray]:
    shift = calibration.shift if calibration.form is Form.CLASSES else calibration.shift[0]
    numbers = {
        "smallest": SMALLEST, "greatest": GREATEST, "zero": 0.0, "one": 1.0, "half": 0.5, "flat": FLAT,
        "slope": calibration.slope, "shift": shift, "largest": calibration.largest, "down": -calibration.largest,
    }  # fmt: skip
    constants = {name: np.array(number, dtype=np.float32) for name, number in numbers.items()}
    return {**constants, "last": np.array([-1], dtype=np.int64)}
