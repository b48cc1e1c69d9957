"""The common form of an inference request, read in one step: a single FP32 tensor, as flat numbers or as bytes.

The decoder checks the types while it parses. Whatever is not exactly of this form, right or wrong, is left to the
reader of all requests (`requests.read_request`), which also says what is wrong.
"""

from __future__ import annotations

import math
import struct
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import UNSET, UnsetType

from perennial.errors import ShapeError
from perennial.serving.protocol import raw_data
from perennial.serving.protocol.checks import MOST_SIZES, MOST_VALUES
from perennial.serving.protocol.messages import NOTHING, InferenceRequest, Tensor

Size = Annotated[int, msgspec.Meta(ge=1)]


class _Raw(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    binary_data_size: int


class _Tensor(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    datatype: Literal["FP32"]
    shape: Annotated[list[Size], msgspec.Meta(max_length=MOST_SIZES)]
    data: list[float] | UnsetType = UNSET
    parameters: _Raw | UnsetType = UNSET


class _Wanted(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    binary_data_output: bool


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    inputs: Annotated[list[_Tensor], msgspec.Meta(min_length=1, max_length=1)]
    id: str | UnsetType = UNSET
    parameters: _Wanted | UnsetType = UNSET


_DECODE = msgspec.json.Decoder(_Request).decode
_OBJECTS = 4
_QUOTES, _OF_DATA, _OF_RAW, _OF_ID, _OF_WANTED = 12, 2, 4, 4, 4
"""Quotes of what every body has, and of what it may have: one with a key that is there twice has more."""


def read_plain(body: bytes, rest: memoryview, model: str, version: str) -> InferenceRequest | None:
    """Return the request of a body of the common form; None for any other body.

    Args:
        body: the JSON. rest: the bytes of tensors after it.
    """
    if body.count(b"{") > _OBJECTS:  # so that no more is decoded than one tensor
        return None
    try:
        request = _DECODE(body)
    except (msgspec.MsgspecError, ValueError):  # ValueError: no UTF-8
        return None
    (given,) = request.inputs
    shape, data, raw = tuple(given.shape), given.data, given.parameters
    tensor = _of_numbers(given, shape, data) if raw is UNSET else _of_bytes(given, shape, raw, rest)
    if tensor is None or (data is not UNSET and (raw is not UNSET or len(rest))):
        return None
    quotes = _QUOTES + (_OF_RAW if data is UNSET else _OF_DATA)
    name, parameters = "", NOTHING
    if request.id is not UNSET:
        name, quotes = request.id, quotes + _OF_ID
    if request.parameters is not UNSET:
        quotes += _OF_WANTED
        parameters = {"binary_data_output": request.parameters.binary_data_output}
    if body.count(b'"') != quotes:
        return None
    return InferenceRequest(model, version, name, (tensor,), (), parameters)


def _of_numbers(given: _Tensor, shape: tuple[int, ...], data: Any) -> Tensor | None:
    if data is UNSET or math.prod(shape) != len(data):
        return None
    try:
        packed = struct.pack(f"<{len(data)}f", *data)
    except OverflowError:  # larger than float32
        return None
    # JSON has no infinite number.
    return Tensor(given.name, "FP32", shape, np.frombuffer(packed, np.float32).reshape(shape), finite=True)


def _of_bytes(given: _Tensor, shape: tuple[int, ...], raw: Any, rest: memoryview) -> Tensor | None:
    size = raw.binary_data_size
    if size != len(rest) or math.prod(shape) > MOST_VALUES:
        return None
    try:
        values = raw_data.values_of(given.name, "FP32", shape, rest)
    except ShapeError:
        return None
    return Tensor(given.name, "FP32", shape, values, {"binary_data_size": size})
