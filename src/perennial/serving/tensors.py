"""The Open Inference Protocol (V2) in JSON: a float matrix as input, the answers as output."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np

from perennial import limits
from perennial.errors import ShapeError
from perennial.serving.answers import brief
from perennial.serving.session import LoadedVersion

DATATYPES = {"FP32": np.float32, "FP64": np.float64, "INT32": np.int32, "INT64": np.int64}
LARGEST = float(np.finfo(np.float32).max)
"""Largest value of the models' inputs, which are float32."""


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
        raise ShapeError(f"inputs are {brief(names)}", hint=f"send {expected}")
    (tensor,) = tensors
    shape = tensor.get("shape")
    datatype = tensor.get("datatype")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise ShapeError(
            f"datatype of {manifest.input!r} is {brief(datatype)}",
            hint=f"send {expected} (also accepted: {', '.join(DATATYPES)})",
        )
    if (
        not isinstance(shape, list)
        or len(shape) != 2
        or not all(type(size) is int for size in shape)
        or shape[0] < 1
        or shape[1] != len(manifest.features)
    ):
        raise ShapeError(
            f"shape of {manifest.input!r} is {brief(shape)}", hint=f"send {expected}, n at least 1"
        )
    if shape[0] > limits.ROWS:
        raise ShapeError(f"{shape[0]} rows", hint=f"send at most {limits.ROWS} rows per request")
    return _values(tensor.get("data"), (shape[0], shape[1]), datatype, manifest.input)


def _values(data: Any, shape: tuple[int, int], datatype: str, name: str) -> np.ndarray:
    """Return the data as float32 [n, features].

    Raises:
        ShapeError: a value is not of the datatype, outside its range or that of float32, or the number is wrong.
    """
    hint = f"send {shape[0] * shape[1]} numbers of {datatype} in row-major order, or a list per row"
    nested = isinstance(data, list) and bool(data) and isinstance(data[0], list)
    if not isinstance(data, list) or (nested and not all(isinstance(row, list) for row in data)):
        raise ShapeError(f"data of {name!r} is not a list of numbers", hint=hint)
    if nested and [len(row) for row in data] != [shape[1]] * shape[0]:
        raise ShapeError(f"data of {name!r} has other rows than the shape {list(shape)}", hint=hint)
    flat = list(chain.from_iterable(data)) if nested else data
    if len(flat) != shape[0] * shape[1]:
        raise ShapeError(f"data of {name!r} has {len(flat)} values, the tensor says {list(shape)}", hint=hint)
    whole = np.issubdtype(DATATYPES[datatype], np.integer)
    strangers = set(map(type, flat)) - ({int, float} if whole else {int, float, type(None)})
    if strangers:
        names = sorted(kind.__name__ for kind in strangers)
        raise ShapeError(f"data of {name!r} has values of type {', '.join(names)}", hint=hint)
    values = np.array(flat, dtype=np.float64).reshape(shape)
    if whole:
        bounds = np.iinfo(DATATYPES[datatype])
        fits = (values == np.trunc(values)) & (values >= bounds.min) & (values <= bounds.max)
    else:
        fits = np.isnan(values) | (np.abs(values) <= LARGEST)
    if not fits.all():
        stranger = values[~fits][0]
        raise ShapeError(
            f"data of {name!r} has {stranger:g}, which is no {datatype} for this model", hint=hint
        )
    return values.astype(np.float32)


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
            {
                "name": version.manifest.output,
                "datatype": "FP32",
                "shape": list(scores.shape),
                "data": scores.reshape(-1),
            }
        ],
    }
    if request_id is not None:
        body["id"] = request_id
    return body


def metadata(version: LoadedVersion, versions: list[str]) -> dict[str, Any]:
    """Return the response body of the model metadata."""
    manifest = version.manifest
    width = manifest.task.width()
    shape = [-1] if width is None else [-1, width]
    return {
        "name": version.wanted.model,
        "versions": versions,
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": manifest.input, "datatype": "FP32", "shape": [-1, len(manifest.features)]}],
        "outputs": [{"name": manifest.output, "datatype": "FP32", "shape": shape}],
        "parameters": {
            "features": ",".join(manifest.features),
            "digest": version.wanted.digest,
            "task": manifest.task.model_dump_json(),
        },
    }
