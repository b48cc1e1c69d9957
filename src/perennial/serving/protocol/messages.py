"""Messages of the Open Inference Protocol (V2) as values, the same for REST and gRPC.

The four of a request and its answer are named tuples: a frozen dataclass takes five times as long to make.

Source: https://github.com/kserve/open-inference-protocol, `specification/protocol`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

DATATYPES: Mapping[str, np.dtype[Any]] = MappingProxyType(
    {
        "BOOL": np.dtype(np.bool_),
        "UINT8": np.dtype("<u1"),
        "UINT16": np.dtype("<u2"),
        "UINT32": np.dtype("<u4"),
        "UINT64": np.dtype("<u8"),
        "INT8": np.dtype("<i1"),
        "INT16": np.dtype("<i2"),
        "INT32": np.dtype("<i4"),
        "INT64": np.dtype("<i8"),
        "FP16": np.dtype("<f2"),
        "FP32": np.dtype("<f4"),
        "FP64": np.dtype("<f8"),
        "BYTES": np.dtype(object),
    }
)
"""Datatype -> NumPy type of `Tensor.values`."""
NUMBERS = tuple(name for name, dtype in DATATYPES.items() if dtype.kind in "fiu")

Parameters = Mapping[str, Any]
"""Parameters of a message, name -> text, number or truth value."""
NOTHING: Mapping[str, Any] = MappingProxyType({})


class Tensor(NamedTuple):
    """An input or output tensor.

    Attributes:
        values: array of the shape and of the type in `DATATYPES`; BYTES as `bytes`. A missing value is NaN in a
            floating type; JSON may leave one out (null) in any other, which is then an object array with None.
        finite: true where no value is infinite, as the reader has checked; false says nothing.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: np.ndarray
    parameters: Parameters = NOTHING
    finite: bool = False


class RequestedOutput(NamedTuple):
    """An output that a request asks for."""

    name: str
    parameters: Parameters = NOTHING


class InferenceRequest(NamedTuple):
    """A request for an inference.

    Attributes:
        version: semantic version; empty: the version that the router or the server chooses.
        id: text that the response repeats; empty: none.
        outputs: the outputs to return, in order; empty: the output of the model file.
    """

    model: str
    version: str
    id: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[RequestedOutput, ...] = ()
    parameters: Parameters = NOTHING


class InferenceResponse(NamedTuple):
    """The answer to an inference.

    Attributes:
        headers: response headers (gRPC: trailing metadata), such as that of a version that stands in.
    """

    model: str
    version: str
    id: str
    outputs: tuple[Tensor, ...]
    parameters: Parameters = NOTHING
    headers: Mapping[str, str] = NOTHING


@dataclass(frozen=True, slots=True)
class TensorMetadata:
    """Name, datatype and shape of an input or output; -1 is a size that the request chooses."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ModelMetadata:
    """Description of a served version."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorMetadata, ...]
    outputs: tuple[TensorMetadata, ...]
    parameters: Parameters = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ServerMetadata:
    """Name and version of the server, and the extensions of the protocol that it has."""

    name: str
    version: str
    extensions: tuple[str, ...]
