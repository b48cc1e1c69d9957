"""Data of tensors in JSON: flat in row-major order, or nested as the shape."""

from __future__ import annotations

import math
from itertools import chain
from typing import Any

import numpy as np

from perennial.errors import ShapeError
from perennial.serving.answers import brief
from perennial.serving.protocol.messages import DATATYPES

MISSING = type(None)
WORDS = {"f": "numbers", "i": "whole numbers", "u": "whole numbers", "b": "true or false", "O": "texts"}


def values_of(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> np.ndarray:
    """Return the data of a tensor as an array of its shape and datatype.

    null is a missing value: NaN in a floating type, else None in an object array.

    Raises:
        ShapeError: the data has another size, shape or type than the tensor says; names tensor and value.
    """
    kind = DATATYPES[datatype].kind
    hint = f"send {math.prod(shape)} {WORDS[kind]} in row-major order, or lists nested as the shape"
    if datatype == "FP16":
        raise ShapeError(
            f"data of {name!r} is FP16, which JSON cannot represent", hint="send FP32, or binary data"
        )
    flat = _flat(name, shape, data, hint)
    if len(flat) != math.prod(shape):
        raise ShapeError(f"data of {name!r} has {len(flat)} values, the tensor says {list(shape)}", hint=hint)
    # The set of types is computed faster than a check of each of thousands of values.
    types = set(map(type, flat))
    allowed = {"b": {bool}, "O": {str}, "f": {int, float}}.get(kind, {int, float})
    if strangers := types - allowed - {MISSING}:
        names = ", ".join(sorted(stranger.__name__ for stranger in strangers))
        raise ShapeError(f"data of {name!r} has values of type {names}", hint=hint)
    return _array(name, datatype, flat, types, hint).reshape(shape)


def _flat(name: str, shape: tuple[int, ...], data: Any, hint: str) -> list[Any]:
    if not isinstance(data, list):
        raise ShapeError(f"data of {name!r} is not a list", hint=hint)
    if not data or not isinstance(data[0], list):
        return data
    level: list[Any] = [data]
    for size in shape:
        if not all(isinstance(part, list) and len(part) == size for part in level):
            raise ShapeError(f"data of {name!r} is not nested as the shape {list(shape)}", hint=hint)
        level = list(chain.from_iterable(level))
    return level


def _array(name: str, datatype: str, flat: list[Any], types: set[type], hint: str) -> np.ndarray:
    dtype = DATATYPES[datatype]
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            values = np.array(flat, dtype=dtype)  # null becomes NaN
        if np.isinf(values).any():
            value = flat[int(np.argmax(np.isinf(values)))]
            raise ShapeError(f"data of {name!r} has {value:g}, which is no {datatype}", hint=hint)
        return values
    if dtype.kind == "O":
        flat = [None if text is None else text.encode() for text in flat]
    elif dtype.kind in "iu":
        flat = _whole(name, datatype, flat, types, hint)
    if MISSING not in types:
        return np.array(flat, dtype=dtype)
    return np.array(flat, dtype=object)


def _whole(name: str, datatype: str, flat: list[Any], types: set[type], hint: str) -> list[Any]:
    if float in types:
        fractions = [value for value in flat if type(value) is float and not value.is_integer()]
        if fractions:
            raise ShapeError(f"data of {name!r} has {fractions[0]:g}, which is no {datatype}", hint=hint)
        flat = [int(value) if type(value) is float else value for value in flat]
    bounds = np.iinfo(DATATYPES[datatype])
    present = [value for value in flat if value is not None] if MISSING in types else flat
    for value in (min(present, default=0), max(present, default=0)):
        if not bounds.min <= value <= bounds.max:
            raise ShapeError(f"data of {name!r} has {brief(value)}, which is no {datatype}", hint=hint)
    return flat
