"""Spans of requests for OpenTelemetry, sent by OTLP over HTTP in a thread of their own."""

from __future__ import annotations

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from perennial.serving.observing.requests import ObservedRequest

SEND_SECONDS = 5
"""Seconds after which a send is given up, at the end of the server, too."""


class Tracing:
    """Makes a span of each request, a child of the client's where it sent a `traceparent`, with a child for each step.

    The sampler is that of OTEL_TRACES_SAMPLER; by default every request is traced but those whose client says not.
    """

    def __init__(self, exporter: SpanExporter) -> None:
        self._provider = TracerProvider(resource=Resource.create({"service.name": "perennial-model-server"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("perennial")
        self._context = TraceContextTextMapPropagator()

    def __call__(self, request: ObservedRequest) -> str:
        """Make the span of an ended request; returns the id of its trace (hex)."""
        given = {
            "http.request.method": request.method,
            "url.path": request.path,
            ("rpc" if isinstance(request.status, str) else "http") + ".response.status_code": request.status,
            "perennial.request_id": request.request_id,
            "perennial.model": request.model,
            "perennial.version": request.version,
            "perennial.shadow": request.shadow,
        }
        span = self._tracer.start_span(
            f"{request.method} {request.model or request.path}",
            context=self._context.extract(request.trace),
            kind=SpanKind.SERVER,
            attributes={name: value for name, value in given.items() if value is not None},
            start_time=request.started,
        )
        if request.failed:
            span.set_status(Status(StatusCode.ERROR))
        within = set_span_in_context(span)
        for step in request.steps if span.is_recording() else ():
            child = self._tracer.start_span(step.name, within, start_time=step.started)
            if step.failed:
                child.set_status(Status(StatusCode.ERROR))
            child.end(step.started + int(step.seconds * 1e9))
        span.end(request.started + int(request.seconds * 1e9))
        return format_trace_id(span.get_span_context().trace_id)

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


def otlp(endpoint: str) -> Tracing:
    """Return the tracing to a collector.

    Args:
        endpoint: address for traces, such as http://127.0.0.1:4318/v1/traces.
    """
    return Tracing(OTLPSpanExporter(endpoint=endpoint, timeout=SEND_SECONDS))
