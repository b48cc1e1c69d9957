"""The Open Inference Protocol (V2) in JSON: a float matrix as input, a score vector as output."""

from __future__ import annotations

from typing import Any

import numpy as np

from perennial.errors import ShapeError
from perennial.serving.session import LoadedVersion

DATATYPES = {"FP32": np.float32, "FP64": np.float64, "INT32": np.int32, "INT64": np.int64}


def read_features(body: Any, version: LoadedVersion) -> np.ndarray:
    """Read the input tensor of a request as float32 [n, features].

    A null in the data is a missing value (NaN), which JSON cannot represent.

    Raises:
        ShapeError: name, datatype, shape or data do not fit the model; the hint names the expected tensor.
    """
    manifest = version.manifest
    expected = f"one input {manifest.input!r}, FP32, shape [n, {len(manifest.features)}]"
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        raise ShapeError("the body has no list `inputs`", hint=f"send {expected}")
    tensors = [tensor for tensor in body["inputs"] if isinstance(tensor, dict)]
    names = [tensor.get("name") for tensor in tensors]
    if names != [manifest.input] or len(tensors) != len(body["inputs"]):
        raise ShapeError(f"inputs are {names}", hint=f"send {expected}")
    (tensor,) = tensors
    shape = tensor.get("shape")
    if tensor.get("datatype") not in DATATYPES:
        raise ShapeError(
            f"datatype of {manifest.input!r} is {tensor.get('datatype')!r}",
            hint=f"send {expected} (also accepted: {', '.join(DATATYPES)})",
        )
    if (
        not isinstance(shape, list)
        or len(shape) != 2
        or not all(type(size) is int for size in shape)
        or shape[0] < 1
        or shape[1] != len(manifest.features)
    ):
        raise ShapeError(f"shape of {manifest.input!r} is {shape}", hint=f"send {expected}, n at least 1")
    return _values(tensor.get("data"), tuple(shape), manifest.input)


def _values(data: Any, shape: tuple[int, int], name: str) -> np.ndarray:
    try:
        values = np.array(data, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(
            f"data of {name!r} is not a list of numbers: {error}", hint="send a flat list, or a list per row"
        ) from error
    if values.shape not in (shape, (shape[0] * shape[1],)):
        raise ShapeError(
            f"data of {name!r} has {values.size} values in shape {list(values.shape)}, the tensor says {list(shape)}",
            hint="send a flat list in row-major order, or a list per row",
        )
    return values.astype(np.float32).reshape(shape)


def answer(
    version: LoadedVersion, scores: np.ndarray, request_id: str | None, parameters: dict[str, Any]
) -> dict[str, Any]:
    """Return the response body of an inference."""
    wanted = version.wanted
    body: dict[str, Any] = {
        "model_name": wanted.model,
        "model_version": wanted.version,
        "parameters": {"digest": wanted.digest, **parameters},
        "outputs": [
            {"name": version.manifest.output, "datatype": "FP32", "shape": [len(scores)], "data": scores}
        ],
    }
    if request_id is not None:
        body["id"] = request_id
    return body


def metadata(version: LoadedVersion, versions: list[str]) -> dict[str, Any]:
    """Return the response body of the model metadata."""
    manifest = version.manifest
    return {
        "name": version.wanted.model,
        "versions": versions,
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": manifest.input, "datatype": "FP32", "shape": [-1, len(manifest.features)]}],
        "outputs": [{"name": manifest.output, "datatype": "FP32", "shape": [-1]}],
        "parameters": {"features": ",".join(manifest.features), "digest": version.wanted.digest},
    }
