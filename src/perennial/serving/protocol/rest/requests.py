"""Inference requests of the REST form: JSON, or JSON followed by the bytes of tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from perennial.errors import MalformedInput, ShapeError
from perennial.serving import strict_json
from perennial.serving.answers import brief
from perennial.serving.protocol import raw_data
from perennial.serving.protocol.checks import (
    MOST_SIZES,
    check_count,
    check_datatype,
    check_shape,
    refuse_extensions,
)
from perennial.serving.protocol.messages import InferenceRequest, RequestedOutput, Tensor
from perennial.serving.protocol.rest import json_data
from perennial.serving.protocol.rest.plain_request import read_plain

HEADER_LENGTH = "inference-header-content-length"
"""Header with the length of the JSON in a body that goes on with bytes of tensors."""
DIGITS = re.compile(r"[0-9]{1,10}")
SIZE = "binary_data_size"


def read_request(body: bytes, given: Mapping[str, str], model: str, version: str) -> InferenceRequest:
    """Read an inference request.

    Args:
        body: as it was before its compression.
        given: request headers.

    Raises:
        MalformedInput: the body is no request. ShapeError: a tensor is wrong.
    """
    length = given.get(HEADER_LENGTH)
    rest = memoryview(b"")
    if length is not None:
        if not (DIGITS.fullmatch(length) and 0 < int(length) <= len(body)):
            raise MalformedInput(
                f"{HEADER_LENGTH} is {brief(length)}, the body has {len(body)} bytes",
                hint="send the length of the JSON before the bytes of the tensors",
            )
        body, rest = body[: int(length)], memoryview(body)[int(length) :]
    plain = read_plain(body, rest, model, version)
    if plain is not None:
        return plain
    content = strict_json.parse(body)
    if not isinstance(content, dict) or not isinstance(content.get("inputs"), list):
        raise ShapeError(
            "the body has no list `inputs`",
            hint=f"send an object with `inputs`; GET /v2/models/{model} says which (names, features)",
        )
    outputs, name = content.get("outputs"), content.get("id")
    if outputs is not None and not isinstance(outputs, list):
        raise MalformedInput(f"outputs is {brief(outputs)}", hint="send a list of objects with `name`")
    check_count(len(content["inputs"]), len(outputs or ()))
    inputs, place = [], 0
    for described in content["inputs"]:
        tensor, place = _tensor(described, rest, place)
        inputs.append(tensor)
    if place != len(rest):
        raise MalformedInput(
            f"{len(rest) - place} bytes after the JSON belong to no input",
            hint=f"{SIZE} of each input says how many",
        )
    return InferenceRequest(
        model,
        version,
        "" if name is None else _text(name, "id"),
        tuple(inputs),
        tuple(_output(described) for described in outputs or ()),
        _parameters(content, "the request", "binary_data_output"),
    )


def _tensor(described: Any, rest: memoryview, place: int) -> tuple[Tensor, int]:
    """Return a tensor and the place in the bytes after it."""
    if not isinstance(described, dict):
        raise ShapeError(
            f"an input is {brief(described)}", hint="send an object with name, datatype, shape and data"
        )
    name = _text(described.get("name"), "the name of an input")
    datatype, shape = described.get("datatype"), described.get("shape")
    check_datatype(name, datatype)
    if not isinstance(shape, list) or not all(type(size) is int for size in shape[: MOST_SIZES + 1]):
        raise ShapeError(f"shape of {brief(name)} is {brief(shape)}", hint="send a list of sizes from 1")
    check_shape(name, shape)
    sizes = tuple(shape)
    parameters = _parameters(described, "an input")
    size = parameters.get(SIZE)
    if size is None:
        values = json_data.values_of(name, datatype, sizes, described.get("data"))
        return Tensor(name, datatype, sizes, values, parameters), place
    if type(size) is not int or not 0 <= size <= len(rest) - place or "data" in described:
        raise ShapeError(
            f"{SIZE} of {brief(name)} is {brief(size)}, after the JSON are {len(rest) - place} more bytes",
            hint=f"send the number of bytes of this input, no data, and the header {HEADER_LENGTH}",
        )
    values = raw_data.values_of(name, datatype, sizes, rest[place : place + size])
    return Tensor(name, datatype, sizes, values, parameters), place + size


def _output(given: Any) -> RequestedOutput:
    if not isinstance(given, dict):
        raise MalformedInput(f"a requested output is {brief(given)}", hint="send an object with `name`")
    name = _text(given.get("name"), "the name of a requested output")
    return RequestedOutput(name, _parameters(given, "an output", "binary_data"))


def _parameters(given: Mapping[str, Any], what: str, flag: str = "") -> dict[str, Any]:
    """Return the parameters of a message; `flag` is the one that must be true or false."""
    parameters = given.get("parameters")
    if parameters is None:  # some clients send null for nothing
        return {}
    if not parameters and isinstance(parameters, dict):
        return parameters
    if not isinstance(parameters, dict):
        raise MalformedInput(f"parameters of {what} is {brief(parameters)}", hint="send an object")
    if not isinstance(parameters.get(flag, False), bool):
        raise MalformedInput(f"{flag} of {what} is {brief(parameters[flag])}", hint="send true or false")
    refuse_extensions(parameters, what)
    return parameters


def _text(given: Any, what: str) -> str:
    if not isinstance(given, str):
        raise ShapeError(f"{what} is {brief(given)}", hint="send a text")
    return given
