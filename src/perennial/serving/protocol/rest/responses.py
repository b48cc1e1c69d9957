"""Responses of the REST form."""

from __future__ import annotations

from typing import Any

import orjson
from starlette.responses import Response

from perennial.serving.answers import Json
from perennial.serving.protocol import raw_data
from perennial.serving.protocol.messages import (
    InferenceRequest,
    InferenceResponse,
    ModelMetadata,
    Tensor,
    TensorMetadata,
)
from perennial.serving.protocol.rest.requests import HEADER_LENGTH, SIZE


def respond(asked: InferenceRequest, response: InferenceResponse) -> Response:
    """Return the response; the outputs that the request asks for as bytes come after the JSON."""
    body: dict[str, Any] = {
        "model_name": response.model,
        "model_version": response.version,
        "parameters": response.parameters,
    }
    if response.id:
        body["id"] = response.id
    as_bytes = _as_bytes(asked, response)
    outputs, raw = [], []
    for output in response.outputs:
        described: dict[str, Any] = {"name": output.name, "datatype": output.datatype, "shape": output.shape}
        if output.name in as_bytes:
            raw.append(raw_data.bytes_of(output))
            described["parameters"] = {SIZE: len(raw[-1])}
        else:
            described["data"] = _data(output)
        outputs.append(described)
    body["outputs"] = outputs
    if not as_bytes:
        return Json(body, headers=response.headers)
    head = orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(
        b"".join([head, *raw]),
        headers={**response.headers, HEADER_LENGTH: str(len(head))},
        media_type="application/octet-stream",
    )


def _as_bytes(asked: InferenceRequest, response: InferenceResponse) -> set[str]:
    """Return the names of the outputs that the request wants as bytes."""
    if not asked.outputs and not asked.parameters:
        return set()
    every = asked.parameters.get("binary_data_output", False)
    wanted = {output.name: output.parameters.get("binary_data", every) for output in asked.outputs}
    return {output.name for output in response.outputs if wanted.get(output.name, every)}


def _data(output: Tensor) -> Any:
    flat = output.values.reshape(-1)
    return [text.decode() for text in flat] if output.datatype == "BYTES" else flat


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
