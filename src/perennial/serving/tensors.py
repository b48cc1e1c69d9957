"""The Open Inference Protocol (V2) in JSON: one float matrix in, one score vector out."""

from __future__ import annotations

from typing import Any

import numpy as np

from perennial.errors import ShapeError
from perennial.serving.session import LoadedVersion

DATATYPES = {"FP32": np.float32, "FP64": np.float64, "INT32": np.int32, "INT64": np.int64}


def read_features(body: Any, version: LoadedVersion) -> np.ndarray:
    """The one input tensor of a request, as float32 [n, features].

    Nulls in the data are missing values (NaN), which JSON cannot write otherwise.

    Raises:
        ShapeError: tensor name, datatype, shape or data do not fit the model; says what would.
    """
    manifest = version.manifest
    wanted = f"one input {manifest.input!r}, FP32, shape [n, {len(manifest.features)}]"
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        raise ShapeError("the body has no list `inputs`", hint=f"send {wanted}")
    tensors = [one for one in body["inputs"] if isinstance(one, dict)]
    names = [one.get("name") for one in tensors]
    if names != [manifest.input] or len(tensors) != len(body["inputs"]):
        raise ShapeError(f"inputs are {names}", hint=f"send {wanted}")
    (tensor,) = tensors
    shape = tensor.get("shape")
    if tensor.get("datatype") not in DATATYPES:
        raise ShapeError(
            f"datatype of {manifest.input!r} is {tensor.get('datatype')!r}",
            hint=f"send {wanted} (also taken: {', '.join(DATATYPES)})",
        )
    if (
        not isinstance(shape, list)
        or len(shape) != 2
        or not all(type(size) is int for size in shape)
        or shape[0] < 1
        or shape[1] != len(manifest.features)
    ):
        raise ShapeError(f"shape of {manifest.input!r} is {shape}", hint=f"send {wanted}, n at least 1")
    return _values(tensor.get("data"), tuple(shape), manifest.input)


def _values(data: Any, shape: tuple[int, int], name: str) -> np.ndarray:
    try:
        values = np.array(data, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ShapeError(
            f"data of {name!r} is not a list of numbers: {error}", hint="flat, or one list per row"
        ) from error
    if values.shape not in (shape, (shape[0] * shape[1],)):
        raise ShapeError(
            f"data of {name!r} has {values.size} values in shape {list(values.shape)}, the tensor says {list(shape)}",
            hint="flat in row-major order, or one list per row",
        )
    return values.astype(np.float32).reshape(shape)


def answer(
    version: LoadedVersion, scores: np.ndarray, request_id: str | None, parameters: dict[str, Any]
) -> dict[str, Any]:
    """The response body of an inference."""
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
    """The model metadata body."""
    manifest = version.manifest
    return {
        "name": version.wanted.model,
        "versions": versions,
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": manifest.input, "datatype": "FP32", "shape": [-1, len(manifest.features)]}],
        "outputs": [{"name": manifest.output, "datatype": "FP32", "shape": [-1]}],
        "parameters": {"features": ",".join(manifest.features), "digest": version.wanted.digest},
    }
