"""Observation of calls, as of requests by REST."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping

import grpc
from google.protobuf.message import DecodeError, Message

from perennial.serving.observing.requests import Observe, observed_request
from perennial.serving.protocol.grpc import open_inference_pb2 as wire
from perennial.serving.protocol.grpc import paths

Call = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]
CODES = {code.value[0]: code.name for code in grpc.StatusCode}


def observed_call(
    method: str,
    kind: type[Message],
    call: Call,
    given: Callable[[grpc.aio.ServicerContext], Mapping[str, str]],
    observe: Observe,
) -> Call:
    """Return the call with a hand-over of each one that ended; its status is the name of its code.

    Args:
        kind: type of its messages.
        given: returns the metadata of a call as the headers of REST.
    """

    async def noting(content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        started, clock = time.time_ns(), time.perf_counter()
        response = None
        try:
            response = await call(content, context)
            return response
        finally:
            observe(
                observed_request(
                    given(context),
                    "POST",
                    paths.path(method),
                    _code(context) if response is None else grpc.StatusCode.OK.name,
                    started,
                    time.perf_counter() - clock,
                    _answered(method, response) or (_asked(kind, content), None),
                )
            )

    return noting


def _code(context: grpc.aio.ServicerContext) -> str | None:
    """Return the name of the code that ended a call; None where nobody set one, as when the client left."""
    code = context.code()  # a number, once it is set
    return code.name if isinstance(code, grpc.StatusCode) else CODES.get(code) if code else None


def _answered(method: str, response: bytes | None) -> tuple[str, str] | None:
    """Return the model and the version of an answer."""
    if response is None or method != paths.INFER:
        return None
    message = wire.ModelInferResponse.FromString(response)
    return message.model_name, message.model_version


def _asked(kind: type[Message], content: bytes) -> str | None:
    """Return the model that a message names; None where it names none, or is no message."""
    message = kind()
    try:
        message.ParseFromString(content)
    except DecodeError:
        return None
    return getattr(message, "model_name", "") or getattr(message, "name", "") or None
