"""Observation of the requests of a server: who was answered what by which version, in which trace."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from perennial import limits
from perennial.serving import headers
from perennial.serving.access import caller
from perennial.serving.http.direct import (
    ANSWERED,
    Application,
    Message,
    Receive,
    Scope,
    Send,
    header_texts,
)

if TYPE_CHECKING:
    from perennial.serving.observing.steps import Step

UNOBSERVED = frozenset({"/livez", "/readyz", "/metrics"})
"""Paths that machines ask all the time."""
FAILURES = frozenset({"INTERNAL", "UNAVAILABLE", "UNKNOWN", "DEADLINE_EXCEEDED", "DATA_LOSS"})
_OF_MODEL = re.compile(r"/v[12]/models/([^/]+)")
_TRACE = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")


@dataclass(frozen=True, slots=True)
class ObservedRequest:
    """A request and how it ended.

    Attributes:
        started: nanoseconds since 1970.
        status: HTTP status of the answer, or the name of the code of a call by gRPC; None where none was sent, as when
            the client left.
        model, version: that answered; of a refused request the model of the path, and None.
        shadow: true for a mirrored request.
        trace: W3C trace context as the client sent it, `traceparent` and `tracestate`.
        steps: of the work for it, where the server traces.
    """

    started: int
    seconds: float
    method: str
    path: str
    status: int | str | None
    request_id: str
    model: str | None
    version: str | None
    shadow: bool
    trace: dict[str, str]
    steps: Sequence[Step] = ()

    @property
    def failed(self) -> bool:
        """Return whether the server is to blame, or nobody got an answer."""
        return self.status is None or self.status in FAILURES or str(self.status).startswith("5")

    @property
    def trace_id(self) -> str | None:
        """Return the trace that the client named; None without a valid one."""
        match = _TRACE.fullmatch(self.trace.get("traceparent", ""))
        return match[1] if match is not None else None


Observe = Callable[[ObservedRequest], None]
CollectSteps = Callable[[], Sequence["Step"]]
"""Returns, at the begin of a request, the list that its steps go to."""


def no_steps() -> Sequence[Step]:
    """Return nothing: a server that does not trace has no steps."""
    return ()


class Observation:
    """Hands each ended request to a log and to a tracer.

    Args:
        log: takes a request and the id of its trace, if it has one.
        trace: takes a request, returns the id of its trace.
    """

    def __init__(
        self,
        log: Callable[[ObservedRequest, str | None], None] | None,
        trace: Callable[[ObservedRequest], str] | None = None,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self._log = log
        self._trace = trace
        self.traces = trace is not None
        self.close = close

    def __call__(self, request: ObservedRequest) -> None:
        trace = self._trace(request) if self._trace is not None else request.trace_id
        if self._log is not None:
            self._log(request, trace)


class Observed:
    """ASGI middleware that observes the requests by REST."""

    def __init__(self, application: Application, observe: Observe, steps: CollectSteps = no_steps) -> None:
        self._application = application
        self._observe = observe
        self._steps = steps

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in UNOBSERVED:
            await self._application(scope, receive, send)
            return
        started, clock = time.time_ns(), time.perf_counter()
        status: int | None = None
        done = self._steps()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._application(scope, receive, noting)
        finally:
            seconds, path = time.perf_counter() - clock, scope["path"]
            of_model = _OF_MODEL.match(path)
            model, version = scope.get(ANSWERED) or (of_model[1] if of_model is not None else None, None)
            given = header_texts(scope["headers"])
            self._observe(
                observed_request(
                    given, scope["method"], path, status, started, seconds, (model, version), done
                )
            )


def observed_request(
    given: Mapping[str, str],
    method: str,
    path: str,
    status: int | str | None,
    started: int,
    seconds: float,
    answered: tuple[str | None, str | None],
    steps: Sequence[Step] = (),
) -> ObservedRequest:
    """Return the record of a request; what a client wrote is cut to the limit."""
    model, version = answered
    return ObservedRequest(
        started,
        seconds,
        method,
        path[: limits.HEADER_TEXT],
        status,
        caller.request_id(given),
        model if model is None else model[: limits.HEADER_TEXT],
        version,
        given.get(headers.SHADOW) == "true",
        {name: given[name] for name in ("traceparent", "tracestate") if given.get(name) is not None},
        steps,
    )


def write_line(request: ObservedRequest, trace_id: str | None) -> None:
    """Write a request as a line of JSON to the standard output.

    A log that nobody reads any more must not fail the request.
    """
    line = {
        "at": datetime.fromtimestamp(request.started / 1e9, UTC),
        "request_id": request.request_id,
        "method": request.method,
        "path": request.path,
        "model": request.model,
        "version": request.version,
        "status": request.status,
        "milliseconds": round(request.seconds * 1000, 3),
        "shadow": request.shadow,
        "trace_id": trace_id,
    }
    with suppress(OSError):
        os.write(sys.stdout.fileno(), orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
