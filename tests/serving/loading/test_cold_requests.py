"""Requests for versions that are loaded on demand: answered, logged, counted and described as those of others."""

from __future__ import annotations

import asyncio
import gc
import os
import time
import weakref

import httpx
import numpy as np
import pytest
from grpc_side.calls import Caller, message, serving
from one_server import Server
from some_source import KEY
from tiny_models import tensor_body, tiny_version

from perennial.core.serving_spec import Load
from perennial.serving import desired_state, headers
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.access.door import Door
from perennial.serving.protocol.inference import Inference
from perennial.serving.protocol.messages import InferenceRequest, Tensor

NAMES = ("one", "two", "three", "four")


@pytest.fixture
def versions(tmp_path):
    return {
        name: tiny_version(tmp_path, name, "1.0.0", bias=float(place)) for place, name in enumerate(NAMES)
    }


@pytest.fixture
def server(tmp_path, versions):
    """One model is pinned, the others are loaded on demand; two of them fit."""
    server = Server(tmp_path / "serving", budget=2 * 200_000)
    server.hold(versions["one"])
    server.hold(*(versions[name] for name in NAMES[1:]), load=Load.ON_DEMAND)
    return server


def infer(server: Server, name: str, **sent: str):
    return server.client.post(f"/v2/models/{name}/infer", json=tensor_body(), headers=sent)


def loaded(server: Server) -> list[str]:
    return [model["model"] for model in server.client.get("/v1/pool").json()["models"] if model["loaded"]]


def sample(server: Server, name: str) -> float:
    line = next(line for line in server.client.get("/metrics").text.splitlines() if line.startswith(name))
    return float(line.rpartition(" ")[2])


def test_the_first_request_loads_and_the_least_recently_used_leaves(server, versions):
    assert loaded(server) == ["one"]
    assert server.client.get("/readyz").status_code == 200, "nothing waits for a request"
    for name in ("two", "three", "two", "four"):
        answer = infer(server, name)
        assert answer.status_code == 200, answer.text
        assert answer.json()["parameters"]["digest"] == versions[name][0].digest
    assert loaded(server) == ["one", "two", "four"]
    assert len(server.log("two")) == 2
    assert set(server.log("four")["digest"]) == {versions["four"][0].digest}
    assert sample(server, 'perennial_cold_loads_total{outcome="loaded"') == 3
    assert sample(server, "perennial_evictions_total") == 1
    assert sample(server, "perennial_cold_load_seconds_count") == 3
    used, budget = sample(server, "perennial_on_demand_bytes"), sample(server, "perennial_on_demand_budget")
    assert 0 < used <= budget == 400_000
    assert 'model_name="three"' not in _loaded_lines(server), "0 is an alarm: a pinned one is missing"


def _loaded_lines(server: Server) -> str:
    lines = server.client.get("/metrics").text.splitlines()
    return "\n".join(line for line in lines if line.startswith("perennial_model_loaded"))


def test_what_is_said_of_a_version_that_is_not_loaded(server):
    client = server.client
    (entry,) = [each for each in client.post("/v2/repository/index").json() if each["name"] == "two"]
    assert (entry["state"], "on demand" in entry["reason"]) == ("UNAVAILABLE", True)
    assert client.post("/v2/repository/models/two/load").status_code == 409
    assert client.get("/v2/models/two/ready").json() == {"name": "two", "ready": True}, "it would be answered"
    assert client.get("/v2/models/two").json()["versions"] == ["1.0.0"]
    report = {model["model"]: model for model in client.get("/v1/pool").json()["models"]}
    assert (report["two"]["load"], report["two"]["loaded"], report["two"]["held"]) == (
        "on_demand",
        False,
        True,
    )
    assert loaded(server) == ["one"], "a question loads nothing"
    infer(server, "two")
    (entry,) = [each for each in client.post("/v2/repository/index").json() if each["name"] == "two"]
    assert (entry["state"], entry["reason"]) == ("READY", "")


def test_a_failed_load_is_503_with_the_reason_and_the_others_are_answered(server, versions):
    folder = desired_state.version_folder(server.folder, versions["two"][0].digest)
    (folder / "model.onnx").write_bytes(b"torn")
    for _ in range(2):
        refused = infer(server, "two")
        assert (refused.status_code, "model.onnx" in refused.json()["error"]) == (503, True)
    assert server.client.get("/v2/models/two/ready").status_code == 503
    assert infer(server, "three").status_code == infer(server, "one").status_code == 200
    assert server.client.get("/readyz").status_code == 200
    assert sample(server, 'perennial_cold_loads_total{outcome="failed"') == 1
    (entry,) = [each for each in server.client.post("/v2/repository/index").json() if each["name"] == "two"]
    assert "model.onnx" in entry["reason"]
    fallback = {headers.DIGEST: versions["two"][0].digest, headers.FALLBACK: versions["three"][0].digest}
    assert infer(server, "two", **fallback).status_code == 503, "the version of another model is none of it"


def test_an_unsigned_version_is_told_before_anybody_asks_for_it(server, versions, tmp_path):
    ref, files = tiny_version(tmp_path, "five", "1.0.0", bias=9.0)
    (files / "manifest.json").write_text("{}")
    server.hold((ref, files), load=Load.ON_DEMAND)
    report = {model["model"]: model for model in server.client.get("/v1/pool").json()["models"]}
    assert "manifest.json" in report["five"]["error"]
    assert infer(server, "five").status_code == 503
    assert server.client.get("/readyz").status_code == 200


def test_a_hundred_requests_at_once_are_one_load(server):
    async def ask_all():
        transport = httpx.ASGITransport(server.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
            paths = ["/v2/models/two/infer"] * 100
            return await asyncio.gather(*(client.post(path, json=tensor_body()) for path in paths))

    answers = asyncio.run(ask_all())
    assert [answer.status_code for answer in answers] == [200] * 100
    assert server.host.on_demand.tally.loads == 1
    assert len(server.log("two")) == 100


@pytest.mark.server
def test_a_call_by_grpc_loads_too(server, tmp_path):
    door = Door(server.application, "inside", ClientKeys(tmp_path / "keys.json"))
    with serving(server.calls(door)) as port, Caller(port) as caller:
        assert caller.infer(message("two"), x_perennial_secret="inside").model_name == "two"
    assert (loaded(server), len(server.log("two"))) == (["one", "two"], 1)


def test_a_request_that_is_given_up_leaves_the_load_to_the_others(server):
    async def two_requests():
        first = asyncio.ensure_future(_answer(server.inference))
        second = asyncio.ensure_future(_answer(server.inference))
        await asyncio.sleep(0)
        first.cancel()
        return await second

    assert asyncio.run(two_requests()).model == "two"


async def _answer(inference: Inference):
    rows = Tensor("features", "FP32", (1, 4), np.full((1, 4), 0.25, dtype=np.float32))
    return await inference.answer(InferenceRequest("two", "", "", (rows,)), {}, time.perf_counter())


def test_a_version_that_left_is_held_by_nobody(server):
    infer(server, "two")
    session = weakref.ref(server.host.on_demand.find(("two", _digest(server, "two"))).session)
    assert infer(server, "three").status_code == infer(server, "four").status_code == 200
    gc.collect()
    assert session() is None


def _digest(server: Server, model: str) -> str:
    (wanted,) = server.host.versions.state.by_model[model]
    return wanted.digest


def test_labels_are_taken_for_a_version_that_left(server):
    name = infer(server, "two").json()["parameters"]["prediction_ids"]
    infer(server, "three")
    infer(server, "four")
    body = {"labels": [{"prediction_id": name, "label": 1}]}
    taken = server.client.post("/v1/feedback", json=body, headers={headers.FEEDBACK_KEY: KEY})
    assert taken.json() == {"accepted": 1}
    wrong = {"labels": [{"prediction_id": name, "label": 2}]}
    assert server.client.post("/v1/feedback", json=wrong).status_code == 400


def test_a_version_is_pinned_and_held_on_demand_without_another_load(server, versions):
    infer(server, "two")
    path = desired_state.state_file(server.folder, "stable")
    session = server.host.only("two").session
    for load in (Load.PINNED, Load.ON_DEMAND):
        desired_state.write(path, desired_state.read(path).with_load("two", load))
        server.host.converge()
        assert server.host.only("two").session is session, load
        assert infer(server, "two").status_code == 200
    assert server.host.on_demand.tally.loads == 1


def test_the_file_of_the_state_is_parsed_again_only_where_it_may_have_changed(server, monkeypatch):
    path = desired_state.state_file(server.folder, "stable")
    old = time.time_ns() - 60 * 1_000_000_000
    desired_state.write(path, desired_state.read(path).without("four", _digest(server, "four")))
    os.utime(path, ns=(old, old))
    server.host.converge()
    assert "four" not in server.host.versions.state.by_model
    reads = []
    monkeypatch.setattr(desired_state, "read", lambda path: reads.append(path))
    for _ in range(3):
        server.host.converge()
    assert reads == []
