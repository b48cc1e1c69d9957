"""NVIDIA's `tritonclient` against an address, in a process of its own: it registers messages of the same names.

Prints a JSON object with what each client was answered.
"""

from __future__ import annotations

import asyncio
import json
import sys

import numpy as np
import tritonclient.grpc as sync
import tritonclient.grpc.aio as aio
from tritonclient.utils import InferenceServerException, triton_to_np_dtype

SECONDS = 60
NUMBERS = (
    "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64",
)  # fmt: skip
ROWS = np.array([[1, 1, 1, 1], [-1, -1, -1, -1]], dtype=np.float32)


def matrix(values=ROWS, datatype="FP32") -> list:
    tensor = sync.InferInput("features", list(values.shape), datatype)
    tensor.set_data_from_numpy(values)
    return [tensor]


def scores(result) -> list:
    return result.as_numpy("score").astype(float).tolist()


def refusal(client, **given) -> str:
    try:
        client.infer(**{"inputs": matrix(), "client_timeout": SECONDS, **given})
    except InferenceServerException as error:
        return str(error.status())
    return "none"


def about(client, model: str) -> dict:
    described = client.get_model_metadata(model)
    return {
        "live": client.is_server_live(),
        "ready": client.is_server_ready(),
        "model ready": client.is_model_ready(model),
        "server": client.get_server_metadata().name,
        "inputs": [[each.name, each.datatype, list(each.shape)] for each in described.inputs],
    }


def synchronous(client, model: str) -> dict:
    named = [sync.InferRequestedOutput("decision"), sync.InferRequestedOutput("score")]
    chosen = client.infer(model, matrix(), outputs=named, request_id="mine", client_timeout=SECONDS)
    small = np.array([[1, 2, 3, 4]])
    alike = {
        tuple(scores(client.infer(model, matrix(small.astype(triton_to_np_dtype(kind)), kind))))
        for kind in NUMBERS
    }
    return {
        "scores": scores(client.infer(model, matrix(), client_timeout=SECONDS)),
        "outputs": [output.name for output in chosen.get_response().outputs],
        "decisions": chosen.as_numpy("decision").tolist(),
        "id": chosen.get_response().id,
        "answers to one row in every datatype": len(alike),
    }


def refusals(client, model: str) -> dict:
    return {
        "another model": refusal(client, model_name="nobody"),
        "another version": refusal(client, model_name=model, model_version="0.0.0"),
        "no input": refusal(client, model_name=model, inputs=[]),
        "another shape": refusal(client, model_name=model, inputs=matrix(ROWS[:, :3])),
        "compressed": refusal(client, model_name=model, compression_algorithm="gzip"),
    }


async def asynchronous(address: str, model: str) -> list:
    async with aio.InferenceServerClient(address) as client:
        assert await client.is_model_ready(model)
        answers = (client.infer(model, matrix(ROWS + place), client_timeout=SECONDS) for place in range(8))
        return [scores(answer) for answer in await asyncio.gather(*answers)]


def main(address: str, model: str) -> None:
    with sync.InferenceServerClient(address) as client:
        said = {
            "about": about(client, model),
            "sync": synchronous(client, model),
            "refused": refusals(client, model),
        }
    said["aio"] = asyncio.run(asynchronous(address, model))
    print(json.dumps(said))


if __name__ == "__main__":
    main(*sys.argv[1:])
