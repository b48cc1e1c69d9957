"""The Open Inference Protocol's published OpenAPI document, written anew: its six operations, statuses and schemas.

https://github.com/kserve/open-inference-protocol, specification/protocol/open_inference_rest.yaml. As there: the paths
with a version only, `/v2/` with its slash, and no status but 200 for health and metadata of a model (its text, though,
asks for an error status, "typically 400"). Otherwise than there: a path parameter is `{MODEL_NAME}`, which is
`${MODEL_NAME}` there, so that a client by that document asks for a model whose name begins with a dollar sign.
"""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
ERROR = {"type": "object", "properties": {"error": TEXT}}
VERSION = "/v2/models/{MODEL_NAME}/versions/{MODEL_VERSION}"


def published_document() -> dict[str, Any]:
    """Return the document; component names are those of the protocol."""
    named = [
        {"name": name, "in": "path", "required": True, "schema": TEXT}
        for name in ("MODEL_NAME", "MODEL_VERSION")
    ]
    refused = {"400": _answer(_of("inference_error_response"))}
    infer = {
        "requestBody": {"content": {"application/json": {"schema": _of("inference_request")}}},
        "responses": {"200": _answer(_of("inference_response")), **refused},
    }
    metadata = {
        "200": _answer(_of("metadata_server_response")),
        "400": _answer(_of("metadata_server_error_response")),
    }
    well = {"200": {"description": "OK"}}
    return {
        "openapi": "3.0.0",
        "info": {"title": "Open Inference Protocol", "version": "2.0"},
        "paths": {
            "/v2/health/live": {"get": {"responses": well}},
            "/v2/health/ready": {"get": {"responses": well}},
            "/v2/": {"get": {"responses": metadata}},
            f"{VERSION}/ready": {"parameters": named, "get": {"responses": well}},
            VERSION: {
                "parameters": named,
                "get": {"responses": {"200": _answer(_of("metadata_model_response"))}},
            },
            f"{VERSION}/infer": {"parameters": named, "post": infer},
        },
        "components": {"schemas": _schemas()},
    }


def _schemas() -> dict[str, Any]:
    parameters = _of("parameters")
    tensor = {"name": TEXT, "shape": _list({"type": "integer"}), "datatype": TEXT}
    with_data = {**tensor, "parameters": parameters, "data": _of("tensor_data")}
    values = [_of("tensor_data"), *({"type": kind} for kind in ("number", "string", "boolean"))]
    return {
        "metadata_server_response": _object(
            {"name": TEXT, "version": TEXT, "extensions": _list(TEXT)}, "name", "version", "extensions"
        ),
        "metadata_server_error_response": {**ERROR, "required": ["error"]},
        "metadata_model_response": _object(
            {
                "name": TEXT, "versions": _list(TEXT), "platform": TEXT,
                "inputs": _list(_of("metadata_tensor")), "outputs": _list(_of("metadata_tensor")),
                "properties": {"type": "object", "additionalProperties": TEXT},
            },
            "name", "platform",
        ),
        "metadata_tensor": _object(tensor, *tensor),
        "parameters": {"type": "object"},
        "tensor_data": _list({"anyOf": values}),
        "request_input": _object(with_data, "name", "shape", "datatype", "data"),
        "request_output": _object({"name": TEXT, "parameters": parameters}, "name"),
        "response_output": _object(with_data, "name", "shape", "datatype", "data"),
        "inference_request": _object(
            {
                "id": TEXT, "parameters": parameters, "inputs": _list(_of("request_input")),
                "outputs": _list(_of("request_output")),
            },
            "inputs",
        ),
        "inference_response": _object(
            {
                "model_name": TEXT, "model_version": TEXT, "id": TEXT, "parameters": parameters,
                "outputs": _list(_of("response_output")),
            },
            "model_name", "outputs",
        ),
        "inference_error_response": ERROR,
    }  # fmt: skip


def _of(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


def _object(properties: dict[str, Any], *required: str) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def _answer(schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": "see the schema", "content": {"application/json": {"schema": schema}}}
