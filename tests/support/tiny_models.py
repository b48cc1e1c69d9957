"""ONNX models small enough to know their scores: sigmoid(sum of features + bias)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper
from signing import signed

from perennial.core.input_spec import InputSpec, columns_of
from perennial.core.tasks import Task
from perennial.core.training.explanation import Background, ServedExplanation
from perennial.core.version import VersionRef

WIDTH = 4
Rows = Sequence[Sequence[float]]


def tiny_version(
    folder: Path,
    model: str,
    version: str,
    bias: float,
    service: str | None = None,
    background: Rows = (),
    task: Task | None = None,
    inputs: Mapping[str, InputSpec] | None = None,
    columns: tuple[str, ...] = (),
) -> tuple[VersionRef, Path]:
    """Write model.onnx and manifest.json and sign them; the same arguments give the same digest.

    Args:
        bias: NaN makes a model that loads and never gives a usable score.
        service: feature service; None is a model served by tensor only.
        background: rows that explanations compare with; none, no explanations.
        task: None for a ranking in a manifest of format 1; a regression answers the sum of the features and the
            bias, several classes the softmax of that sum and zeros.
        inputs: typed inputs that the caller sends; the sum is over their columns. Needs a task.
        columns: view:feature of each feature of the service.
    """
    files = folder / f"{model}-{version}"
    files.mkdir(parents=True, exist_ok=True)
    names = columns_of(inputs) if inputs else tuple(f"f{number}" for number in range(WIDTH))
    content = _graph(bias, task, len(names)).SerializeToString()
    (files / "model.onnx").write_bytes(content)
    manifest = {
        "format": 1, "model": model, "capsule": "capsule-of-test", "input": "features",
        "output": "score", "feature_service": service, "entities": ["test_id", "suite"],
        "request": {"cycle_size": "int", "requested_at": "timestamp"},
        "features": list(names), "threshold": 0.5,
    }  # fmt: skip
    if task is not None:
        del manifest["threshold"]
        manifest |= {"format": 2, "output": task.output, "task": task.model_dump()}
    if columns:
        manifest["columns"] = list(columns)
    if inputs:
        manifest["inputs"] = {name: spec.model_dump(mode="json") for name, spec in inputs.items()}
    if background:
        manifest["explanation"] = _explanation(files, manifest["features"], background)
    (files / "manifest.json").write_text(json.dumps(manifest))
    digest = signed(files, model)
    key = version.replace(".", "")
    return VersionRef(model=model, version=version, key=key, digest=digest, capsule="capsule-of-test"), files


def tensor_body(rows: int = 1, value: float = 0.25) -> dict:
    """An Open Inference Protocol request; value 0.25 and bias 0 score sigmoid(1)."""
    data = [value] * (rows * WIDTH)
    return {"inputs": [{"name": "features", "shape": [rows, WIDTH], "datatype": "FP32", "data": data}]}


def _explanation(files: Path, names: list[str], background: Rows) -> dict:
    rows = np.array(background, dtype=np.float32)
    text = Background.drawn(names, rows, len(rows), seed=0).model_dump_json()
    (files / "background.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    return ServedExplanation(
        background="background.json",
        background_digest=digest,
        coalitions=50,
        max_rows=3,
        tolerance=1e-5,
        seed=7,
    ).model_dump()


def _graph(bias: float, task: Task | None, columns: int) -> onnx.ModelProto:
    output, width = ("score", None) if task is None else (task.output, task.width())
    if width is None:
        last = [helper.make_node("Identity" if output == "value" else "Sigmoid", ["raw"], [output])]
    else:
        last = [
            helper.make_node("Unsqueeze", ["raw", "axes"], ["column"]),
            helper.make_node("Mul", ["column", "first"], ["logits"]),
            helper.make_node("Softmax", ["logits"], [output]),
        ]
    first = [1.0] + [0.0] * ((width or 1) - 1)
    graph = helper.make_graph(
        [
            helper.make_node("ReduceSum", ["features", "axes"], ["sum"], keepdims=0),
            helper.make_node("Add", ["sum", "bias"], ["raw"]),
            *last,
        ],
        "sum",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["n", columns])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["n"] if width is None else ["n", width])],
        [
            helper.make_tensor("axes", TensorProto.INT64, [1], [1]),
            helper.make_tensor("bias", TensorProto.FLOAT, [1], [bias]),
            *([helper.make_tensor("first", TensorProto.FLOAT, [1, width], first)] if width else []),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
