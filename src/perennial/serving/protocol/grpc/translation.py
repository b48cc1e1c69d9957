"""Between the gRPC messages of the protocol and its values."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from perennial.errors import MalformedInput, ShapeError
from perennial.serving.answers import brief
from perennial.serving.protocol import raw_data
from perennial.serving.protocol.checks import check_count, check_datatype, check_shape, refuse_extensions
from perennial.serving.protocol.grpc import open_inference_pb2 as wire
from perennial.serving.protocol.messages import (
    DATATYPES,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    RequestedOutput,
    Tensor,
    TensorMetadata,
)

CONTENTS = {
    "BOOL": "bool_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
"""Datatype -> field of `InferTensorContents`; FP16 has none."""
MOST_PARAMETERS = 100
"""Most parameters of a request, an input or an output: a message can have hundreds of thousands, read one by one."""


def request_of(message: wire.ModelInferRequest) -> InferenceRequest:
    """Return the request in a message.

    Raises:
        MalformedInput, ShapeError: its tensors are not what the message says of them.
    """
    check_count(len(message.inputs), len(message.outputs))
    raw = message.raw_input_contents
    if raw and len(raw) != len(message.inputs):
        raise MalformedInput(
            f"{len(raw)} raw_input_contents for {len(message.inputs)} inputs",
            hint="send one per input, in order",
        )
    return InferenceRequest(
        message.model_name,
        message.model_version,
        message.id,
        tuple(
            _tensor(tensor, raw[number] if raw else None) for number, tensor in enumerate(message.inputs)
        ),
        tuple(RequestedOutput(output.name, _parameters(output.parameters, "an output")) for output in message.outputs),
        _parameters(message.parameters, "the request"),
    )  # fmt: skip


def response_message(response: InferenceResponse, raw: bool) -> wire.ModelInferResponse:
    """Return the message of a response.

    Args:
        raw: the values as bytes, as a request with `raw_input_contents` has them.
    """
    message = wire.ModelInferResponse(
        model_name=response.model, model_version=response.version, id=response.id
    )
    for name, value in response.parameters.items():
        _set(message.parameters[name], value)
    for tensor in response.outputs:
        output = message.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
        if raw or tensor.datatype not in CONTENTS:
            message.raw_output_contents.append(raw_data.bytes_of(tensor))
        else:
            getattr(output.contents, CONTENTS[tensor.datatype]).extend(tensor.values.reshape(-1).tolist())
    return message


def metadata_message(metadata: ModelMetadata) -> wire.ModelMetadataResponse:
    """Return the message of the metadata of a model."""
    return wire.ModelMetadataResponse(
        name=metadata.name,
        versions=metadata.versions,
        platform=metadata.platform,
        inputs=map(_described, metadata.inputs),
        outputs=map(_described, metadata.outputs),
    )


def _tensor(given: wire.ModelInferRequest.InferInputTensor, raw: bytes | None) -> Tensor:
    name, datatype = given.name, given.datatype
    check_datatype(name, datatype)
    check_shape(name, given.shape)
    shape = tuple(given.shape)
    if raw is None:
        values = _values(name, datatype, shape, given.contents)
    elif given.HasField("contents"):
        raise MalformedInput(
            f"input {brief(name)} has contents beside raw_input_contents", hint="send one of both"
        )
    else:
        values = raw_data.values_of(name, datatype, shape, raw)
    return Tensor(name, datatype, shape, values, _parameters(given.parameters, "an input"))


def _values(
    name: str, datatype: str, shape: tuple[int, ...], contents: wire.InferTensorContents
) -> np.ndarray:
    field = CONTENTS.get(datatype)
    given = [described.name for described, _ in contents.ListFields()]
    if field is None or given != [field]:
        raise ShapeError(
            f"data of {brief(name)} ({datatype}) is in {', '.join(given) or 'no field'}",
            hint=f"send {field}" if field else "send raw_input_contents",
        )
    flat = getattr(contents, field)
    if len(flat) != math.prod(shape):
        raise ShapeError(
            f"data of {brief(name)} has {len(flat)} values, the tensor says {list(shape)}",
            hint=f"send {math.prod(shape)} values in row-major order",
        )
    dtype = DATATYPES[datatype]
    if dtype.kind == "O":
        values = np.empty(len(flat), dtype=object)
        values[:] = list(flat)
        return values.reshape(shape)
    if dtype.kind in "iu" and dtype.itemsize < 4:
        bounds = np.iinfo(dtype)
        for value in (min(flat), max(flat)):
            if not bounds.min <= value <= bounds.max:
                raise ShapeError(
                    f"data of {brief(name)} has {value}, which is no {datatype}",
                    hint=f"send whole numbers from {bounds.min} to {bounds.max}",
                )
    return np.array(flat, dtype=dtype).reshape(shape)


def _parameters(given: Mapping[str, wire.InferParameter], what: str) -> dict[str, Any]:
    if len(given) > MOST_PARAMETERS:
        raise MalformedInput(f"{what} has {len(given)} parameters", hint=f"send at most {MOST_PARAMETERS}")
    parameters = {}
    for name, value in given.items():
        choice = value.WhichOneof("parameter_choice")
        parameters[name] = None if choice is None else getattr(value, choice)
    refuse_extensions(parameters, what)
    return parameters


def _set(parameter: wire.InferParameter, value: Any) -> None:
    kinds = {bool: "bool_param", int: "int64_param", float: "double_param"}
    kind = kinds.get(type(value))
    setattr(parameter, kind or "string_param", value if kind else str(value))


def _described(tensor: TensorMetadata) -> wire.ModelMetadataResponse.TensorMetadata:
    return wire.ModelMetadataResponse.TensorMetadata(
        name=tensor.name, datatype=tensor.datatype, shape=tensor.shape
    )
