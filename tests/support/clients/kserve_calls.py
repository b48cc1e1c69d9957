"""Calls by the inference client of KServe's SDK; prints their results as JSON. Run with the server's address."""

import asyncio
import json
import sys

import numpy as np
from kserve import InferInput, InferRequest
from kserve.inference_client import InferenceRESTClient, RESTConfig
from kserve.protocol.infer_type import RequestedOutput

ROWS = np.array([[1, 1, 1, 1], [-1, -1, -1, -1]], dtype=np.float32)


def flowers(binary: bool) -> InferRequest:
    tensor = InferInput("features", list(ROWS.shape), "FP32")
    tensor.set_data_from_numpy(ROWS, binary_data=binary)
    outputs = [RequestedOutput(name, {"binary_data": binary}) for name in ("class", "probabilities")]
    return InferRequest("flowers", [tensor], request_id="mine", request_outputs=outputs)


def order(binary: bool) -> InferRequest:
    columns = [
        ("amount", np.array([2.5]), "FP64"),
        ("count", np.array([3]), "INT64"),
        ("gift", np.array([True]), "BOOL"),
        ("colour", np.array(["grün".encode()], dtype=object), "BYTES"),
        ("ordered", np.array([b"1970-01-01T00:00:00Z"], dtype=object), "BYTES"),
    ]
    inputs = []
    for name, values, datatype in columns:
        tensor = InferInput(name, [1], datatype)
        tensor.set_data_from_numpy(values, binary_data=binary)
        inputs.append(tensor)
    return InferRequest("orders", inputs)


async def calls(address: str) -> dict:
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    base = f"http://{address}"
    results = {
        "live": await client.is_server_live(base),
        "ready": await client.is_server_ready(base),
        "model": await client.is_model_ready(base, "flowers"),
    }
    for binary in (False, True):
        given = await client.infer(base, flowers(binary), model_name="flowers")
        texts = given.outputs[0].as_numpy().astype(str).tolist()
        numbers = given.outputs[1].as_numpy().argmax(axis=1).tolist()
        score = (await client.infer(base, order(binary), model_name="orders")).outputs[0].as_numpy()
        results["binary" if binary else "json"] = [given.id, texts, numbers, round(float(score[0]), 5)]
    await client.close()
    return results


print(json.dumps(asyncio.run(calls(sys.argv[1]))))
