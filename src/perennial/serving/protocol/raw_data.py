"""Tensors as bytes: little-endian, row-major; a BYTES element is its length (uint32) and its bytes."""

from __future__ import annotations

import math
import struct

import numpy as np

from perennial.errors import ShapeError
from perennial.serving.protocol.messages import DATATYPES, Tensor

_LENGTH = struct.Struct("<I")


def values_of(name: str, datatype: str, shape: tuple[int, ...], data: bytes | memoryview) -> np.ndarray:
    """Return the bytes of a tensor as an array of its shape and datatype, where possible without a copy.

    Raises:
        ShapeError: the data has another size than the tensor says, or a BOOL is neither 0 nor 1.
    """
    count = math.prod(shape)
    if datatype == "BYTES":
        return _texts(name, count, data).reshape(shape)
    dtype = DATATYPES[datatype]
    if len(data) != count * dtype.itemsize:
        raise ShapeError(
            f"data of {name!r} has {len(data)} bytes, the tensor says {list(shape)} {datatype}",
            hint=f"send {count * dtype.itemsize} bytes, little-endian, row-major",
        )
    if datatype == "BOOL" and (np.frombuffer(data, np.uint8) > 1).any():
        raise ShapeError(f"data of {name!r} has a byte above 1", hint="a BOOL is one byte, 0 or 1")
    values = np.frombuffer(data, dtype)
    # Any place in a body is possible; ONNX Runtime wants aligned numbers.
    return (values if values.flags.aligned else values.copy()).reshape(shape)


def bytes_of(tensor: Tensor) -> bytes:
    """Return the values of a tensor as bytes."""
    if tensor.datatype != "BYTES":
        return np.ascontiguousarray(tensor.values, DATATYPES[tensor.datatype]).tobytes()
    return b"".join(_LENGTH.pack(len(text)) + text for text in tensor.values.reshape(-1))


def _texts(name: str, count: int, data: bytes | memoryview) -> np.ndarray:
    texts, at = [], 0
    while at + _LENGTH.size <= len(data) and len(texts) <= count:
        start = at + _LENGTH.size
        at = start + _LENGTH.unpack_from(data, at)[0]
        texts.append(bytes(data[start:at]))
    if at != len(data) or len(texts) != count:
        raise ShapeError(
            f"data of {name!r} is not {count} texts",
            hint="send each as its length (4 bytes, little-endian) and its bytes",
        )
    values = np.empty(count, dtype=object)
    values[:] = texts
    return values
