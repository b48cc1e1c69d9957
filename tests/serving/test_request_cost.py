"""A request costs little more than its parsing and its model."""

from __future__ import annotations

import asyncio
import runpy
import time
from pathlib import Path

import numpy as np
import orjson
import pytest
from one_server import Server
from starlette.testclient import TestClient
from tiny_models import tensor_body, tiny_version

MOST = 10.0
"""Processor time of a request, door and HTTP server left out, relative to parsing, model and answer alone. It is about
6, and was 15 with Starlette's routes, labelled counters and log lines that serialise their version anew."""
BLOCK, BLOCKS = 300, 9


def test_the_floor_of_the_benchmark_answers_as_the_server_does(server, tmp_path):
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "serving_targets" / "bare_asgi.py"
    module = runpy.run_path(str(path), run_name="target")
    (version,) = server.host.versions.loaded.values()
    client = TestClient(module["application"](server.folder / "store" / version.wanted.digest))
    answer, floor = (
        each.post("/v2/models/tiny/infer", json=tensor_body(3)).json() for each in (server.client, client)
    )
    assert floor["outputs"] == answer["outputs"]


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "server")
    server.hold(tiny_version(tmp_path, "tiny", "1.0.0", 0.0))
    return server


def test_a_request_by_tensor_costs_a_small_multiple_of_its_parsing_and_model(server):
    content = orjson.dumps(tensor_body())
    (version,) = server.host.versions.loaded.values()
    application = server.application
    scope = {
        "type": "http", "method": "POST", "path": "/v2/models/tiny/infer", "query_string": b"", "root_path": "",
        "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(content))],
    }  # fmt: skip
    sent = []

    async def receive():
        return {"type": "http.request", "body": content, "more_body": False}

    async def send(message):
        sent.append(message)

    async def served():
        await application(dict(scope), receive, send)

    async def bare():
        (tensor,) = orjson.loads(content)["inputs"]
        features = np.array(tensor["data"], dtype=np.float32).reshape(tensor["shape"])
        answer = {"outputs": [{"name": "score", "data": version.score(features)}]}
        sent.append(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY))

    async def seconds(call) -> float:
        began = time.process_time()
        for _ in range(BLOCK):
            await call()
        return time.process_time() - began

    async def blocks() -> tuple[float, float]:
        # In turn and the best of each, so that other load of the machine affects neither.
        times = [(await seconds(served), await seconds(bare)) for _ in range(BLOCKS)]
        return min(ours for ours, _ in times), min(floor for _, floor in times)

    ours, floor = asyncio.run(blocks())
    statuses = {message["status"] for message in sent if isinstance(message, dict) and "status" in message}
    assert statuses == {200}
    assert len(server.log()) == BLOCK * BLOCKS, "each is logged"
    assert ours / floor < MOST
