"""Observation of calls, as of requests by REST."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import grpc

from perennial.serving.observing.requests import CollectSteps, Observe, observed_request
from perennial.serving.protocol.grpc import paths

CODES = {code.value[0]: code.name for code in grpc.StatusCode}


@dataclass(slots=True)
class Subject:
    """The model and the version of a call, filled in as the call goes on; None where they are not known."""

    model: str | None = None
    version: str | None = None


Call = Callable[[bytes, grpc.aio.ServicerContext], Awaitable[bytes]]
CallAbout = Callable[[bytes, grpc.aio.ServicerContext, Subject], Awaitable[bytes]]
"""A call that says which model and version it is about."""


def unobserved_call(call: CallAbout) -> Call:
    """Return the call as gRPC makes it."""

    async def plain(content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        return await call(content, context, Subject())

    return plain


def observed_call(
    method: str,
    call: CallAbout,
    given: Callable[[grpc.aio.ServicerContext], Mapping[str, str]],
    observe: Observe,
    steps: CollectSteps,
) -> Call:
    """Return the call with a hand-over of each one that ended; its status is the name of its code.

    Args:
        given: returns the metadata of a call as the headers of REST.
        steps: returns the list that the steps of a call go to.
    """

    async def noting(content: bytes, context: grpc.aio.ServicerContext) -> bytes:
        started, clock = time.time_ns(), time.perf_counter()
        subject, response, done = Subject(), None, steps()
        try:
            response = await call(content, context, subject)
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
                    (subject.model, subject.version),
                    done,
                )
            )

    return noting


def _code(context: grpc.aio.ServicerContext) -> str | None:
    """Return the name of the code that ended a call; None where nobody set one, as when the client left."""
    code = context.code()  # a number, once it is set
    return code.name if isinstance(code, grpc.StatusCode) else CODES.get(code) if code else None
