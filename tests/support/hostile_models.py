"""ONNX files that a sound exporter never writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper


def features(width: int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", width])


FEATURES = features(3)
SCORE = helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])


def saved(path: Path, nodes, initializers=(), opsets=(("", 17),), functions=(), width=3) -> Path:
    graph = helper.make_graph(list(nodes), "g", [features(width)], [SCORE], list(initializers))
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid(*one) for one in opsets], functions=list(functions)
    )
    model.ir_version = 9
    onnx.save(model, str(path))
    return path


def constant(name: str, value) -> onnx.TensorProto:
    return onnx.numpy_helper.from_array(np.asarray(value), name)


def endless(path: Path, width: int = 3) -> Path:
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["c_out"]), helper.make_node("Identity", ["s"], ["s_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("s_out", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("ReduceMean", ["features"], ["m"], axes=[1], keepdims=0),
        helper.make_node("Loop", ["", "go", "m"], ["score"], body=body),
    ]
    return saved(path, nodes, [constant("go", np.array(True))], width=width)
