"""What operators see of requests: JSON lines, spans for OpenTelemetry, and histograms by version."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from grpc_side.calls import Caller, message, serving
from one_server import Server
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from starlette.testclient import TestClient
from tiny_models import tensor_body, tiny_version

from perennial.serving.observing.requests import Observation, Observed, write_line
from perennial.serving.observing.settings import observation
from perennial.serving.observing.steps import collected_steps
from perennial.serving.observing.tracing import Tracing, otlp
from perennial.serving.single.door import LocalDoor
from perennial.settings import Settings

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SENT = {"x-request-id": "mine", "traceparent": f"00-{TRACE}-{PARENT}-01"}
INFER = "/v2/models/tiny/infer"
BY_ENTITY = {
    "entities": [{"test_id": "t1", "suite": "s"}],
    "context": {"cycle_size": 1, "requested_at": "2015-12-01T10:00:00Z"},
}


@pytest.fixture
def server(tmp_path):
    server = Server(tmp_path / "server")
    server.hold(tiny_version(tmp_path, "tiny", "1.0.0", 0.0, service="svc"))
    return server


def test_each_request_is_a_line_with_its_id_version_status_and_trace(server, capfd):
    client = TestClient(Observed(server.application, Observation(write_line)))
    client.post(INFER, json=tensor_body(2), headers=SENT)
    client.post("/v1/models/tiny/predict", json=BY_ENTITY, headers={"traceparent": "00-zero"})
    client.post(INFER, content=b"{", headers={"x-perennial-shadow": "true"})
    client.get("/livez")
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    keys = ("request_id", "path", "model", "version", "status", "shadow", "trace_id")
    assert [tuple(line[key] for key in keys) for line in lines] == [
        ("mine", INFER, "tiny", "1.0.0", 200, False, TRACE),
        ("", "/v1/models/tiny/predict", "tiny", "1.0.0", 200, False, None),
        ("", INFER, "tiny", None, 400, True, None),
    ]


def test_a_span_is_a_child_of_the_client_s_and_reaches_a_collector(server, monkeypatch):
    monkeypatch.delenv("OTEL_SDK_DISABLED", raising=False)
    received = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, ExportTraceServiceRequest.FromString(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *parts):
            pass

    with HTTPServer(("127.0.0.1", 0), Collector) as collector:
        threading.Thread(target=collector.serve_forever, daemon=True).start()
        tracing = otlp(f"http://127.0.0.1:{collector.server_port}/v1/traces")
        traces = []
        client = TestClient(
            Observed(server.application, Observation(lambda request, trace: traces.append(trace), tracing))
        )
        client.post(INFER, json=tensor_body(), headers=SENT)
        client.post(INFER, json=tensor_body())
        tracing.close()
        collector.shutdown()
    spans = [
        span
        for _, message in received
        for resource in message.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]
    assert {path for path, _ in received} == {"/v1/traces"}
    assert [span.trace_id.hex() for span in spans] == traces
    assert traces[0] == TRACE != traces[1]
    assert spans[0].parent_span_id.hex() == PARENT
    attributes = {each.key: each.value for each in spans[0].attributes}
    assert attributes["perennial.version"].string_value == "1.0.0"
    assert attributes["http.response.status_code"].int_value == 200


def test_reads_of_features_scoring_and_the_log_are_children_of_the_span_of_a_request(tmp_path, monkeypatch):
    monkeypatch.delenv("OTEL_SDK_DISABLED", raising=False)
    server, exporter = Server(tmp_path / "server", traced=True), InMemorySpanExporter()
    server.hold(tiny_version(tmp_path, "tiny", "1.0.0", 0.0, service="svc"))
    tracing = Tracing(exporter)
    client = TestClient(Observed(server.application, Observation(None, tracing), collected_steps))
    assert client.post("/v1/models/tiny/predict", json=BY_ENTITY, headers=SENT).status_code == 200
    with serving(server.calls(LocalDoor(None, None), Observation(None, tracing), collected_steps)) as port:
        with Caller(port) as caller:
            caller.infer(message("tiny"))
    server.values.down = True
    assert client.post("/v1/models/tiny/predict", json=BY_ENTITY).status_code == 503
    tracing.close()
    spans = exporter.get_finished_spans()
    requests = [span for span in spans if span.kind is SpanKind.SERVER]
    children = [
        [child for child in spans if child.parent and child.parent.span_id == request.context.span_id]
        for request in requests
    ]
    assert [[child.name for child in each] for each in children[:2]] == [
        ["read features", "score", "log"],
        ["score", "log"],
    ]
    assert {child.name for child in children[2]} == {"read features"}
    for request, each in zip(requests, children, strict=True):
        assert all(request.start_time <= child.start_time <= child.end_time for child in each)
        assert {child.context.trace_id for child in each} == {request.context.trace_id}
    failed = [{child.status.status_code for child in each} for each in children]
    assert failed == [{StatusCode.UNSET}, {StatusCode.UNSET}, {StatusCode.ERROR}]


def test_nothing_is_observed_unless_a_setting_asks_for_it(server, tmp_path):
    assert observation(Settings(home=tmp_path)) is None
    assert observation(Settings(home=tmp_path, request_log=True)) is not None


def test_the_metrics_have_a_histogram_of_each_version(server):
    server.client.post(INFER, json=tensor_body(3))
    page = server.client.get("/metrics").text
    labels = 'model_name="tiny",pool="stable",version="1.0.0"'
    assert f'perennial_request_seconds_bucket{{le="+Inf",{labels}}} 1.0' in page
    assert f"perennial_predictions_total{{{labels}}} 3.0" in page
