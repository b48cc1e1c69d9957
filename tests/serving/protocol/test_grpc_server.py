"""A model server's gRPC, asked directly: the same answers, log, metrics and door as over REST."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import pytest
from examples import examples
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_side.calls import Caller, message, serving
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from one_server import Server
from tiny_models import tensor_body, tiny_version

from perennial import limits
from perennial.core.governance.client_keys import Right
from perennial.every_error import all_errors
from perennial.flows.governance.client_keys import add_key
from perennial.serving import headers
from perennial.serving.access.client_keys import ClientKeys
from perennial.serving.access.door import Door
from perennial.serving.protocol.grpc import open_inference_pb2 as wire
from perennial.serving.protocol.grpc import paths
from perennial.serving.protocol.grpc.status import OF_ERROR, STATUSES
from perennial.serving.protocol.grpc.translation import MOST_PARAMETERS
from perennial.settings import Settings
from perennial.wiring import database

pytestmark = pytest.mark.server

SECRET, INSIDE = "inside", {"x_perennial_secret": "inside"}
ROUTED = {**INSIDE, "x_perennial_public": "true", "x_perennial_model": "tiny"}
"""Metadata of a client's call, as Envoy sends it on."""


class Served:
    """A server with its door, asked by gRPC (`caller`) and by REST (`server.client`)."""

    def __init__(self, folder, observe=None) -> None:
        self.server = Server(folder / "serving")
        self.ref, files = tiny_version(folder, "tiny", "1.0.0", bias=0.0)
        self.server.hold((self.ref, files))
        self.keys = ClientKeys(folder / "keys.json")
        self.live = True
        calls = self.server.calls(Door(self.server.client.app, SECRET, self.keys), observe)
        self._serving = serving(calls, lambda: self.live)
        self.port = self._serving.__enter__()
        self.caller = Caller(self.port)

    def end(self) -> None:
        self.caller.__exit__()
        self._serving.__exit__(None, None, None)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    served = Served(tmp_path_factory.mktemp("served"))
    yield served
    served.end()


def test_an_answer_and_its_record_are_those_of_rest(served):
    ids = {headers.REQUEST_ID: "r-1", headers.FORWARDED_FOR: "1.2.3.4", headers.RELEASE: "r9"}
    ids[headers.DIGEST] = served.ref.digest
    said = served.server.client.post(
        "/v2/models/tiny/infer", json=tensor_body(2) | {"id": "7"}, headers=ids
    ).json()
    answer = served.caller.infer(
        message("tiny", 2, id="7"), **INSIDE, **{name.replace("-", "_"): value for name, value in ids.items()}
    )
    assert (answer.model_name, answer.model_version, answer.id) == ("tiny", "1.0.0", "7")
    (output,) = answer.outputs
    assert list(output.contents.fp32_contents) == pytest.approx(said["outputs"][0]["data"])
    assert set(answer.parameters) == set(said["parameters"])
    served.server.writer.close()
    log = served.server.log().drop(columns=["latency_ms"]).set_index("prediction_id")
    by_rest, by_grpc = (
        log.loc[names.split(",")].reset_index(drop=True)
        for names in (said["parameters"]["prediction_ids"], answer.parameters["prediction_ids"].string_param)
    )
    assert len(by_rest) == 2
    assert by_rest.astype(str).equals(by_grpc.astype(str))


def test_a_call_is_observed_with_its_code_version_and_trace(tmp_path):
    observed = []
    served = Served(tmp_path, observed.append)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    try:
        served.caller.infer(message("tiny", 2), traceparent=f"00-{trace}-00f067aa0ba902b7-01", **INSIDE)
        with pytest.raises(grpc.RpcError):
            served.caller.infer(message("nobody", 1), **INSIDE)
        with pytest.raises(grpc.RpcError):
            served.caller.call(b"\xff", "ModelInfer", **INSIDE)
    finally:
        served.end()
    assert [(each.model, each.version, each.status, each.trace_id) for each in observed] == [
        ("tiny", "1.0.0", "OK", trace),
        ("nobody", None, "NOT_FOUND", None),
        (None, None, "INVALID_ARGUMENT", None),
    ]
    assert observed[0].path == paths.path("ModelInfer")


def test_raw_contents_are_answered_raw(served):
    request = message("tiny", 2)
    request.inputs[0].ClearField("contents")
    request.raw_input_contents.append(b"\x00\x00\x80\x3e" * 8)
    answer = served.caller.infer(request, **INSIDE)
    assert len(answer.raw_output_contents[0]) == 8
    assert not answer.outputs[0].HasField("contents")


def test_methods_about_the_server_and_the_model(served):
    def ask(method, request, response):
        return response.FromString(served.caller.call(request.SerializeToString(), method, **INSIDE))

    assert ask("ServerLive", wire.ServerLiveRequest(), wire.ServerLiveResponse).live
    assert ask("ServerReady", wire.ServerReadyRequest(), wire.ServerReadyResponse).ready
    assert (
        ask("ServerMetadata", wire.ServerMetadataRequest(), wire.ServerMetadataResponse).name == "perennial"
    )
    named = wire.ModelReadyRequest(name="tiny", version="1.0.0")
    assert ask("ModelReady", named, wire.ModelReadyResponse).ready
    metadata = ask("ModelMetadata", wire.ModelMetadataRequest(name="tiny"), wire.ModelMetadataResponse)
    assert (list(metadata.versions), metadata.inputs[0].name) == (["1.0.0"], "features")
    assert list(metadata.inputs[0].shape) == [-1, 4]


def test_the_repository_says_what_the_server_holds_and_changes_nothing(served):
    def ask(method, request, response):
        return response.FromString(served.caller.call(request.SerializeToString(), method, **INSIDE))

    index = ask("RepositoryIndex", wire.RepositoryIndexRequest(), wire.RepositoryIndexResponse)
    assert [(each.name, each.version, each.state) for each in index.models] == [("tiny", "1.0.0", "READY")]
    ask(
        "RepositoryModelLoad",
        wire.RepositoryModelLoadRequest(model_name="tiny"),
        wire.RepositoryModelLoadResponse,
    )
    named = wire.RepositoryModelUnloadRequest(model_name="tiny").SerializeToString()
    assert served.caller.code(named, "RepositoryModelUnload", **INSIDE) == "FAILED_PRECONDITION"
    for method in paths.OF_REPOSITORY:
        assert served.caller.code(b"", method, **ROUTED) == "UNAUTHENTICATED"


def strange(**changes) -> wire.ModelInferRequest:
    """Return a request whose input has these changes, and bytes of another size than it says."""
    request = message("tiny", raw_input_contents=[b"1"])
    request.inputs[0].ClearField("contents")
    request.inputs[0].MergeFrom(wire.ModelInferRequest.InferInputTensor(**changes))
    return request


REFUSED = {
    "no model": (b"", "INVALID_ARGUMENT"),
    "another model": (message("none"), "NOT_FOUND"),
    "another version": (message("tiny", model_version="9.0.0"), "NOT_FOUND"),
    "too many rows": (message("tiny", limits.ROWS + 1), "INVALID_ARGUMENT"),
    "no input": (wire.ModelInferRequest(model_name="tiny"), "INVALID_ARGUMENT"),
    "no protobuf": (b"\xff\xff", "INVALID_ARGUMENT"),
    "no UTF-8": (b"\x0a\x01\xff", "INVALID_ARGUMENT"),
    "a long name": (strange(name="\N{GRINNING FACE}" * 100_000), "INVALID_ARGUMENT"),
    "many sizes": (strange(shape=[1] * 4_000_000), "INVALID_ARGUMENT"),
    "many parameters": (
        strange(parameters={f"{number:x}": wire.InferParameter() for number in range(MOST_PARAMETERS + 1)}),
        "INVALID_ARGUMENT",
    ),
    "larger than the limit": (b"\x1a" + b"\x00" * limits.BODY_BYTES, "RESOURCE_EXHAUSTED"),
}


@pytest.mark.parametrize(("content", "code"), REFUSED.values(), ids=REFUSED)
def test_what_is_wrong_with_a_request_is_its_status(served, content, code):
    assert served.caller.code(content, **INSIDE) == code


def test_a_version_that_is_not_loaded_is_left_to_another_server(served):
    assert served.caller.code(message("tiny"), **INSIDE, x_perennial_digest="f" * 64) == "UNAVAILABLE"


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=100))
def test_no_bytes_make_the_server_fail(served, content):
    assert served.caller.code(content, **INSIDE) in {"OK", "INVALID_ARGUMENT", "NOT_FOUND"}


def test_every_error_has_a_status():
    assert {error.http_status for error in all_errors()} <= set(OF_ERROR)


def test_an_error_is_the_fault_of_the_same_side_by_grpc_as_by_rest():
    known = {code.name: code.value[0] for code in grpc.StatusCode if code is not grpc.StatusCode.OK}
    assert {status.name: status.code for status in STATUSES} == known
    for error in {error.http_status for error in all_errors()}:
        assert error // 100 == OF_ERROR[error].counted // 100, error


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError("secret"), "INTERNAL"), (OSError(28, "full"), "UNAVAILABLE")]
)
def test_a_fault_of_the_server_says_so_and_not_what_it_was(served, monkeypatch, error, code):
    def fail(*given):
        raise error

    monkeypatch.setattr(type(served.server.inference), "answer", fail)
    with pytest.raises(grpc.RpcError) as refused:
        served.caller.infer(message("tiny"), **INSIDE)
    assert (refused.value.code().name, "secret" in refused.value.details()) == (code, False)


def test_the_door_is_that_of_rest(served, tmp_path):
    key = add_key(
        "shop", [Right.PREDICT], ["tiny"], None, "ann", served.keys,
        database.store(Settings(home=tmp_path)).ledger, datetime.now(UTC), lambda size: "5" * 2 * size,
        taken={},
    )  # fmt: skip
    bearer = {"authorization": f"Bearer {key}"}
    code = served.caller.code
    assert code(message("tiny")) == "PERMISSION_DENIED", "only the router comes in"
    assert code(b"", "ServerLive") == "PERMISSION_DENIED"
    assert code(message("tiny"), **ROUTED) == "UNAUTHENTICATED"
    assert code(message("tiny"), **ROUTED, **bearer) == "OK"
    assert code(b"\xff\xff", **ROUTED) == "UNAUTHENTICATED", "a message is read for clients with a key only"
    for none in ("none", "tiny/\n", "tiny/../tiny"):
        assert code(message(none), **ROUTED) == "UNAUTHENTICATED"
    for method in paths.OF_REPOSITORY:
        assert code(b"", method, **ROUTED, **bearer) == "PERMISSION_DENIED"
    assert code(message("none"), **{**ROUTED, "x_perennial_model": "none"}, **bearer) == "PERMISSION_DENIED"
    for method in ("ModelReady", "ModelMetadata"):
        asked = wire.ModelReadyRequest(name="tiny").SerializeToString()
        assert code(asked, method, **ROUTED) == "UNAUTHENTICATED"
        assert code(asked, method, **ROUTED, **bearer) == "OK"


def test_a_message_that_was_routed_as_another_model_is_refused(served, monkeypatch):
    monkeypatch.setattr(Door, "_signed_in", lambda *given: None)
    code = served.caller.code
    assert code(message("tiny"), **ROUTED) == "OK"
    assert code(message("tiny"), **{**ROUTED, "x_perennial_model": "other"}) == "INVALID_ARGUMENT"
    assert code(message("tiny", model_version="1.0.0"), **ROUTED) == "INVALID_ARGUMENT"
    unnamed = {name: value for name, value in ROUTED.items() if name != "x_perennial_model"}
    assert code(message("tiny"), **unnamed) == "INVALID_ARGUMENT"


def test_refused_and_answered_calls_are_in_the_metrics(served):
    served.caller.infer(message("tiny"), **INSIDE)
    served.caller.code(message("none"), **INSIDE)
    page = served.server.client.get("/metrics").text
    assert 'perennial_requests_total{model_name="tiny",pool="stable",status="200",version="1.0.0"}' in page
    assert 'perennial_requests_total{model_name="",pool="stable",status="404",version=""}' in page


def test_the_health_check_follows_the_start_and_needs_no_secret(served):
    with grpc.insecure_channel(f"127.0.0.1:{served.port}") as channel:
        check = health_pb2_grpc.HealthStub(channel).Check
        kinds = health_pb2.HealthCheckResponse
        assert check(health_pb2.HealthCheckRequest(), 60).status == kinds.SERVING
        served.live = False
        assert check(health_pb2.HealthCheckRequest(), 60).status == kinds.NOT_SERVING
        served.live = True
