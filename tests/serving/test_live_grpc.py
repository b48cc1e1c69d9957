"""gRPC from a client to a model: real Envoy, real model servers, releases that see nothing but calls."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import onnx
import pytest
import tiny_models
from grpc_side import calls
from grpc_side.calls import Caller, message
from grpc_side.load import GrpcLoad
from live_releases import MODEL as RELEASED
from live_releases import LiveReleases
from onnx import TensorProto, helper
from release_scenarios import Ending, Scenario, expected, run
from serving_stack import target, until

from perennial.core.release.phase import Phase
from perennial.core.release.traffic import Route
from perennial.core.release_spec import Strategy

pytestmark = pytest.mark.traffic

TRITON = Path(calls.__file__).with_name("triton_caller.py")
MODEL = "called"
BIAS = {"1.0.0": 0.0, "1.1.0": 1.0, "6.6.6": math.nan}


@pytest.fixture(scope="module")
def versions(serving_stack, tmp_path_factory):
    """Return champion 1.0.0, candidate 1.1.0, and 6.6.6, which answers errors only."""
    held = {"stable": ("1.0.0",), "canary": ("1.1.0", "6.6.6")}
    return serving_stack.load_tiny(tmp_path_factory.mktemp("versions"), MODEL, BIAS, held)


@pytest.fixture
def stack(serving_stack):
    yield serving_stack
    serving_stack.revive(MODEL)


def share(stack, versions, candidate: str, weight: float, **more) -> None:
    stack.router.apply(
        Route(
            model=MODEL,
            stable=target(versions["1.0.0"], "r1"),
            canary=target(versions[candidate], "r2"),
            canary_weight=weight,
            **more,
        )
    )
    stack.until_healthy(MODEL)


def load(stack, **more) -> GrpcLoad:
    return GrpcLoad(stack.settings.port_envoy, MODEL, more, threads=2)


def test_tritonclient_works_unchanged(stack, versions):
    share(stack, versions, "1.1.0", 0.0)
    address = f"127.0.0.1:{stack.settings.port_envoy}"
    command = [sys.executable, str(TRITON), address, MODEL]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["about"] == {
        "live": True, "ready": True, "model ready": True, "server": "perennial",
        "inputs": [["features", "FP32", [-1, 4]]],
    }  # fmt: skip
    first = [1 / (1 + math.exp(-value)) for value in (4, -4)]
    assert said["sync"] == {
        "scores": pytest.approx(first, abs=1e-5), "outputs": ["decision", "score"], "decisions": [1, 0], "id": "mine",
        "answers to one row in every datatype": 1,
    }  # fmt: skip
    assert said["aio"][0] == pytest.approx(first, abs=1e-5)
    assert [rows[1] for rows in said["aio"]] == sorted(rows[1] for rows in said["aio"])
    assert said["refused"] == {
        "another model": "StatusCode.NOT_FOUND", "another version": "StatusCode.NOT_FOUND",
        "no input": "StatusCode.INVALID_ARGUMENT", "another shape": "StatusCode.INVALID_ARGUMENT",
        "compressed": "StatusCode.UNIMPLEMENTED",
    }  # fmt: skip


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_server_that_ends_costs_no_call(stack, versions, how):
    share(stack, versions, "1.1.0", 0.0)
    port = stack.settings.ports("stable")[0]
    with load(stack) as seen:
        seen.wait_for(50)
        stack.kill(port, how)
        until(lambda: not stack.alive(port), 60, "the server is gone")
        until(lambda: stack.router.healthy(MODEL)["stable"] == 1, 60, "Envoy has noticed")
        seen.wait_for(200)
    assert seen.lost_to_a_kill == 0, seen.failures


def test_a_version_that_fails_costs_no_call_and_is_blamed(stack, versions):
    share(stack, versions, "6.6.6", 50.0)
    before = stack.router.counters(MODEL)
    with load(stack) as seen:
        seen.wait_for(200)
    assert seen.failed == 0
    assert set(seen.versions) == {"1.0.0"}
    counted = {pool: now.since(before[pool]) for pool, now in stack.router.counters(MODEL).items()}
    assert counted["canary"].errors == counted["canary"].requests > 50
    assert counted["stable"].errors == 0


def test_what_clients_do_wrong_counts_for_no_version(stack, versions):
    """Sixty requests with this content type on a route of REST once ended a healthy release."""
    share(stack, versions, "1.1.0", 50.0)
    before = stack.router.counters(MODEL)
    url = f"http://127.0.0.1:{stack.settings.port_envoy}/v2/models/{MODEL}/infer"
    with Caller(stack.settings.port_envoy) as caller:
        for number in range(30):
            assert caller.code(message(MODEL, value=math.inf)) == "INVALID_ARGUMENT"
            assert caller.code(b"\xff" * number) == "INVALID_ARGUMENT"
            sent = {"content-type": "application/grpc", "te": "trailers"}
            assert httpx.post(url, json={}, headers=sent, trust_env=False).status_code == 415
    counted = {pool: now.since(before[pool]) for pool, now in stack.router.counters(MODEL).items()}
    assert sum(each.requests for each in counted.values()) == 30
    assert [(each.errors, each.lost, each.requests - each.refused) for each in counted.values()] == [
        (0, 0, 0)
    ] * 3


def test_a_release_sees_calls_alone_to_its_end(live_releases: LiveReleases):
    port = live_releases.stack.settings.port_envoy
    scenario = Scenario(Strategy.CANARY, Ending.FORWARD)
    outcome = run(scenario, live_releases, lambda: GrpcLoad(port, RELEASED, {}, threads=2, pause_s=0.01))
    assert outcome.phase is expected(scenario)
    assert (outcome.failed, outcome.problems) == (0, [])
    assert outcome.requests > 100


def test_a_candidate_that_fails_calls_is_taken_back(live_releases: LiveReleases, tmp_path, monkeypatch):
    """It passes every check before traffic: only the values that these clients send break it."""
    plain = tiny_models._graph
    monkeypatch.setattr(tiny_models, "_graph", lambda *given: fragile(plain(*given)))
    candidate = live_releases._register(tmp_path, 9)
    live_releases.use(Strategy.CANARY)
    champion = live_releases.champion
    port = live_releases.stack.settings.port_envoy
    with GrpcLoad(port, RELEASED, {"value": 50.0}, threads=2, pause_s=0.01) as seen:
        status = live_releases.to_end(live_releases.start(candidate))
    assert seen.failed == 0
    assert status.phase is Phase.ROLLED_BACK, status
    assert "error" in status.note, status.note
    assert live_releases.champion == champion


def fragile(model: onnx.ModelProto) -> onnx.ModelProto:
    """Let a model answer NaN where a feature is larger than 40: it adds nought times the root of the distance."""
    graph = model.graph
    graph.node[0].input[0] = "checked"
    for number, (kind, inputs, output) in enumerate(
        [
            ("Sub", ["forty", "features"], "distance"),
            ("Sqrt", ["distance"], "root"),
            ("Mul", ["root", "nought"], "nothing"),
            ("Add", ["features", "nothing"], "checked"),
        ]
    ):
        graph.node.insert(number, helper.make_node(kind, inputs, [output]))
    for name, value in (("forty", 40.0), ("nought", 0.0)):
        graph.initializer.append(helper.make_tensor(name, TensorProto.FLOAT, [1], [value]))
    return model
