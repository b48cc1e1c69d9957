"""Make the matrix that a model file takes of the input tensors of a request.

A model takes one matrix of numbers. A model whose callers send typed inputs (`inputs` of the manifest, without a
feature service) also takes a tensor per input, by name, and the server encodes them as `/v1/.../predict` does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from perennial import limits
from perennial.core.input_encoding import encode
from perennial.core.input_spec import InputKind, InputSpec, in_order
from perennial.errors import MalformedInput, ShapeError
from perennial.serving.answers import brief
from perennial.serving.manifest import ServedManifest
from perennial.serving.protocol.messages import NUMBERS, Tensor, TensorMetadata

DATATYPE_OF = {
    InputKind.FLOAT: "FP64",
    InputKind.INT: "INT64",
    InputKind.BOOL: "BOOL",
    InputKind.CATEGORY: "BYTES",
    InputKind.TIMESTAMP: "BYTES",
    InputKind.TEXT: "BYTES",
    InputKind.ARRAY: "FP32",
}
PLAIN = frozenset({InputKind.FLOAT, InputKind.INT})
SHOWN = 500
"""Most characters of a hint that lists inputs."""


def features_of(tensors: Sequence[Tensor], manifest: ServedManifest) -> np.ndarray:
    """Return the input of the model file, float32 [n, features]; NaN is a missing value.

    A float32 matrix is handed on without a copy.

    Raises:
        ShapeError: names, datatypes or shapes are not those of the model; the hint says which they are.
        MalformedInput: a value of a named input is not one that the model knows; names row and input.
    """
    if len(tensors) == 1 and tensors[0].name == manifest.input and manifest.input not in manifest.inputs:
        return _matrix(tensors[0], manifest)
    typed = named_inputs(manifest)
    names = [tensor.name for tensor in tensors]
    if not typed or len(names) != len(typed) or set(names) != set(typed):
        known = f"{manifest.input!r}" + (f" or {brief(list(typed))}" if typed else "")
        raise ShapeError(
            f"inputs are {brief(names)}, the model takes {known}", hint=f"send {_expected(manifest)}"
        )
    return _columns({tensor.name: tensor for tensor in tensors}, typed)


def input_metadata(manifest: ServedManifest) -> tuple[TensorMetadata, ...]:
    """Return the inputs to send: the matrix where all are plain numbers, else one tensor per typed input."""
    typed = named_inputs(manifest)
    if all(spec.type in PLAIN for spec in typed.values()):
        return (TensorMetadata(manifest.input, "FP32", (-1, len(manifest.features))),)
    return tuple(
        TensorMetadata(name, DATATYPE_OF[spec.type], (-1,) if spec.size is None else (-1, spec.size))
        for name, spec in typed.items()
    )


def named_inputs(manifest: ServedManifest) -> dict[str, InputSpec]:
    """Return the inputs that may be sent as a tensor each; none for a model with a feature service."""
    if manifest.feature_service is not None or not manifest.inputs:
        return {}
    return in_order(manifest.inputs, manifest.features)


def _expected(manifest: ServedManifest) -> str:
    matrix = f"one input {manifest.input!r}, FP32, shape [n, {len(manifest.features)}]"
    typed = named_inputs(manifest)
    if not typed:
        return matrix
    each = ", ".join(
        f"{name} {DATATYPE_OF[spec.type]}" + ("" if spec.size is None else f" [n, {spec.size}]")
        for name, spec in typed.items()
    )
    return f"{matrix}, or an input of shape [n] for each of: {each}"[:SHOWN]


def _matrix(tensor: Tensor, manifest: ServedManifest) -> np.ndarray:
    if tensor.datatype not in NUMBERS:
        raise ShapeError(
            f"datatype of {tensor.name!r} is {tensor.datatype}, the model takes FP32",
            hint=f"send {_expected(manifest)} (also accepted: {', '.join(NUMBERS)})",
        )
    shape = tensor.shape
    if len(shape) != 2 or shape[1] != len(manifest.features):
        raise ShapeError(
            f"shape of {tensor.name!r} is {brief(list(shape))}, the model takes [n, {len(manifest.features)}]",
            hint=f"send {_expected(manifest)}",
        )
    _limit(shape[0])
    values = tensor.values
    if tensor.finite and tensor.datatype == "FP32":
        return values
    if values.dtype.kind == "O":
        raise ShapeError(
            f"data of {tensor.name!r} has a missing value, which {tensor.datatype} cannot have",
            hint="send FP32 with null in its place",
        )
    if values.dtype != np.float32:
        # A value outside of float32 becomes infinite, and is refused as such.
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
    infinite = np.isinf(values)
    if infinite.any():
        row, column = (int(place) for place in np.argwhere(infinite)[0])
        raise ShapeError(
            f"data of {tensor.name!r} has {tensor.values[row, column]:g} in row {row}, column {column} "
            f"({manifest.features[column]}): infinite, or outside of float32",
            hint="send a finite number up to 3.4e38, or NaN (null in JSON) for a missing value",
        )
    return values


def _limit(rows: int) -> None:
    if rows > limits.ROWS:
        raise ShapeError(f"{rows} rows", hint=f"send at most {limits.ROWS} rows per request")


def _columns(tensors: Mapping[str, Tensor], typed: Mapping[str, InputSpec]) -> np.ndarray:
    rows = tensors[next(iter(typed))].shape[:1]
    columns = {}
    for name, spec in typed.items():
        tensor = tensors[name]
        known = NUMBERS if spec.type in (*PLAIN, InputKind.ARRAY) else (DATATYPE_OF[spec.type],)
        if tensor.datatype not in known:
            raise ShapeError(
                f"datatype of {name!r} is {tensor.datatype}, the model takes {DATATYPE_OF[spec.type]}",
                hint=f"it is {spec.type.value}: send {', '.join(known)}",
            )
        fitting = (rows, (*rows, 1)) if spec.size is None else ((*rows, spec.size),)
        if tensor.shape not in fitting or not rows:
            wanted = "[n] or [n, 1]" if spec.size is None else f"[n, {spec.size}]"
            raise ShapeError(
                f"shape of {name!r} is {brief(list(tensor.shape))}, the model takes {wanted}",
                hint=f"send {wanted} with the same n for every input; the first has {list(rows)}",
            )
        _limit(rows[0])
        if spec.size is not None:
            columns[name] = _arrays(tensor.values)
            continue
        flat = tensor.values.reshape(-1)
        columns[name] = _texts(name, flat) if tensor.datatype == "BYTES" else flat
    return encode(typed, columns, rows[0])


def _arrays(values: np.ndarray) -> list[np.ndarray | None]:
    """Return the rows [size] of a tensor; one without any known number is missing as a whole."""
    missing = values == None if values.dtype.kind == "O" else np.isnan(values)  # noqa: E711 of each element
    return [None if gone.all() else row for row, gone in zip(values, missing, strict=True)]


def _texts(name: str, values: np.ndarray) -> list[str | None]:
    """Decode UTF-8.

    Raises:
        MalformedInput: a value is no UTF-8, or too long; names its row.
    """
    texts: list[str | None] = []
    for row, value in enumerate(values):
        try:
            text = None if value is None else value.decode()
        except UnicodeDecodeError as error:
            raise MalformedInput(
                f"row {row}, {name} is {brief(value)}, which is no UTF-8", hint="send UTF-8"
            ) from error
        if text is not None and len(text) > limits.TEXT:
            raise MalformedInput(
                f"row {row}, {name} has {len(text)} characters",
                hint=f"send at most {limits.TEXT} characters per value",
            )
        texts.append(text)
    return texts
