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
ALLOWED = {
    "f": {int, float, MISSING}, "i": {int, float, MISSING}, "u": {int, float, MISSING},
    "b": {bool, MISSING}, "O": {str, MISSING},
}  # fmt: skip
"""Kind of a NumPy type -> types of its values in parsed JSON."""
WORDS = {"f": "numbers", "i": "whole numbers", "u": "whole numbers", "b": "true or false", "O": "texts"}


def values_of(name: str, datatype: str, shape: tuple[int, ...], data: Any) -> np.ndarray:
    """Return the data of a tensor as an array of its shape and datatype.

    null is a missing value: NaN in a floating type, else None in an object array.

    Raises:
        ShapeError: the data has another size, shape or type than the tensor says; names tensor and value.
    """
    try:
        return _array(datatype, _flat(shape, data), shape)
    except _Wrong as wrong:
        words = WORDS[DATATYPES[datatype].kind]
        raise ShapeError(
            f"data of {name!r} {wrong}",
            hint=f"send {math.prod(shape)} {words} in row-major order, or lists nested as the shape",
        ) from None


class _Wrong(Exception):
    """A fault of the data of a tensor, in words that follow its name."""


def _flat(shape: tuple[int, ...], data: Any) -> list[Any]:
    if not isinstance(data, list):
        raise _Wrong("is not a list")
    flat = data
    if data and isinstance(data[0], list):
        level: list[Any] = [data]
        for size in shape:
            if not all(isinstance(part, list) and len(part) == size for part in level):
                raise _Wrong(f"is not nested as the shape {list(shape)}")
            level = list(chain.from_iterable(level))
        flat = level
    if len(flat) != math.prod(shape):
        raise _Wrong(f"has {len(flat)} values, the tensor says {list(shape)}")
    return flat


def _array(datatype: str, flat: list[Any], shape: tuple[int, ...]) -> np.ndarray:
    dtype = DATATYPES[datatype]
    kind = dtype.kind
    if datatype == "FP16":
        raise _Wrong("is FP16, which JSON cannot represent: send FP32, or binary data")
    # The set of types is computed faster than a check of each of thousands of values.
    types = set(map(type, flat))
    if strangers := types - ALLOWED[kind]:
        raise _Wrong(f"has values of type {', '.join(sorted(stranger.__name__ for stranger in strangers))}")
    if kind == "f":
        with np.errstate(
            over="ignore"
        ):  # a value outside of the type becomes infinite, and is refused as such
            values = np.array(flat, dtype=dtype)  # null becomes NaN
        infinite = np.isinf(values)
        if infinite.any():
            raise _Wrong(f"has {flat[int(infinite.argmax())]:g}, which is no {datatype}")
        return values.reshape(shape)
    if kind == "O":
        flat = [None if text is None else text.encode() for text in flat]
    elif kind in "iu":
        flat = _whole(datatype, flat, types)
    return np.array(flat, dtype=object if MISSING in types else dtype).reshape(shape)


def _whole(datatype: str, flat: list[Any], types: set[type]) -> list[Any]:
    if float in types:
        fractions = [value for value in flat if type(value) is float and not value.is_integer()]
        if fractions:
            raise _Wrong(f"has {fractions[0]:g}, which is no {datatype}")
        flat = [int(value) if type(value) is float else value for value in flat]
    bounds = np.iinfo(DATATYPES[datatype])
    present = [value for value in flat if value is not None] if MISSING in types else flat
    for value in (min(present, default=0), max(present, default=0)):
        if not bounds.min <= value <= bounds.max:
            raise _Wrong(f"has {brief(value)}, which is no {datatype}")
    return flat
