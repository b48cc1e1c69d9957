"""The messages of the protocol in the JSON of its REST form."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from perennial.errors import MalformedInput, ShapeError
from perennial.serving.answers import brief
from perennial.serving.protocol.json_data import values_of
from perennial.serving.protocol.messages import (
    DATATYPES,
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    RequestedOutput,
    Tensor,
    TensorMetadata,
)

MOST_SIZES = 16
"""Largest rank of a tensor."""
MOST_VALUES = 2**31


def read_request(body: Any, model: str, version: str) -> InferenceRequest:
    """Read an inference request from parsed JSON.

    Raises:
        MalformedInput: the body is no request. ShapeError: a tensor is wrong.
    """
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        raise ShapeError(
            "the body has no list `inputs`",
            hint=f"send an object with `inputs`; GET /v2/models/{model} says which (names, features)",
        )
    outputs = body.get("outputs", [])
    if not isinstance(outputs, list):
        raise MalformedInput(f"outputs is {brief(outputs)}", hint="send a list of objects with `name`")
    return InferenceRequest(
        model,
        version,
        _text(body.get("id", ""), "id"),
        tuple(_tensor(each) for each in body["inputs"]),
        tuple(_output(each) for each in outputs),
        _parameters(body, "the request"),
    )


def _tensor(given: Any) -> Tensor:
    if not isinstance(given, dict):
        raise ShapeError(
            f"an input is {brief(given)}", hint="send an object with name, datatype, shape, data"
        )
    name = _text(given.get("name"), "the name of an input")
    datatype, shape = given.get("datatype"), given.get("shape")
    if not isinstance(datatype, str) or datatype not in DATATYPES:
        raise ShapeError(
            f"datatype of {brief(name)} is {brief(datatype)}", hint=f"known: {', '.join(DATATYPES)}"
        )
    if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
        raise ShapeError(f"shape of {brief(name)} is {brief(shape)}", hint="send a list of sizes from 1")
    if len(shape) > MOST_SIZES or math.prod(shape) > MOST_VALUES:
        raise ShapeError(
            f"shape of {brief(name)} is {brief(shape)}",
            hint=f"at most {MOST_SIZES} sizes, {MOST_VALUES} values",
        )
    sizes = tuple(shape)
    parameters = _parameters(given, f"input {brief(name)}")
    return Tensor(name, datatype, sizes, values_of(name, datatype, sizes, given.get("data")), parameters)


def _output(given: Any) -> RequestedOutput:
    if not isinstance(given, dict):
        raise MalformedInput(f"a requested output is {brief(given)}", hint="send an object with `name`")
    name = _text(given.get("name"), "the name of a requested output")
    return RequestedOutput(name, _parameters(given, f"output {brief(name)}"))


def _parameters(given: Mapping[str, Any], what: str) -> dict[str, Any]:
    parameters = given.get("parameters", {})
    if not isinstance(parameters, dict):
        raise MalformedInput(f"parameters of {what} is {brief(parameters)}", hint="send an object")
    return parameters


def _text(given: Any, what: str) -> str:
    if not isinstance(given, str):
        raise ShapeError(f"{what} is {brief(given)}", hint="send a text")
    return given


def response_body(response: InferenceResponse) -> dict[str, Any]:
    """Return the body of a response, with NumPy arrays as data."""
    body: dict[str, Any] = {
        "model_name": response.model,
        "model_version": response.version,
        "parameters": response.parameters,
        "outputs": [_output_body(output) for output in response.outputs],
    }
    if response.id:
        body["id"] = response.id
    return body


def _output_body(output: Tensor) -> dict[str, Any]:
    flat = output.values.reshape(-1)
    data = [text.decode() for text in flat] if output.datatype == "BYTES" else flat
    return {"name": output.name, "datatype": output.datatype, "shape": output.shape, "data": data}


def metadata_body(metadata: ModelMetadata) -> dict[str, Any]:
    """Return the body of the metadata of a model."""
    return {
        "name": metadata.name,
        "versions": metadata.versions,
        "platform": metadata.platform,
        "inputs": [_described(tensor) for tensor in metadata.inputs],
        "outputs": [_described(tensor) for tensor in metadata.outputs],
        "parameters": metadata.parameters,
    }


def _described(tensor: TensorMetadata) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}
