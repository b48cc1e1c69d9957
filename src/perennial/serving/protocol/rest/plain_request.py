"""The common form of an inference request, read in one step: a single FP32 tensor of flat numbers.

The decoder checks the types while it parses. Whatever is not exactly of this form, right or wrong, is left to the
reader of all requests (`requests.read_request`), which also says what is wrong.
"""

from __future__ import annotations

import math
import struct
from typing import Annotated, Literal

import msgspec
import numpy as np

from perennial.serving.protocol.checks import MOST_SIZES
from perennial.serving.protocol.messages import InferenceRequest, Tensor

Size = Annotated[int, msgspec.Meta(ge=1)]


class _Tensor(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    name: str
    datatype: Literal["FP32"]
    shape: Annotated[list[Size], msgspec.Meta(max_length=MOST_SIZES)]
    data: list[float]


class _Request(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    inputs: Annotated[list[_Tensor], msgspec.Meta(min_length=1, max_length=1)]
    id: str = ""


_DECODE = msgspec.json.Decoder(_Request).decode
_QUOTES = 14
"""Quotes of the keys and texts of a body without `id`: a key that is there twice has further ones."""
_QUOTES_WITH_ID = _QUOTES + 4


def read_plain(body: bytes, model: str, version: str) -> InferenceRequest | None:
    """Return the request of a body of the common form; None for any other body."""
    if body.count(b"{") != 2:  # no more is decoded than one tensor
        return None
    try:
        request = _DECODE(body)
        (tensor,) = request.inputs
        data = struct.pack(f"<{len(tensor.data)}f", *tensor.data)
    except (msgspec.MsgspecError, ValueError, OverflowError):  # also what is no UTF-8, or larger than float32
        return None
    shape = tuple(tensor.shape)
    quotes = body.count(b'"')
    if quotes != _QUOTES and not (quotes == _QUOTES_WITH_ID and request.id):
        return None
    if math.prod(shape) != len(tensor.data):
        return None
    values = np.frombuffer(data, np.float32).reshape(shape)
    # JSON has no infinite number, and `pack` refuses one that is too large for the type.
    return InferenceRequest(
        model, version, request.id, (Tensor(tensor.name, "FP32", shape, values, finite=True),)
    )
