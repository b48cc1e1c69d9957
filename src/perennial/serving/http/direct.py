"""Dispatch of the two routes of the traffic without Starlette, whose routing and requests cost more than a model."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Reversible
from typing import Any

from starlette.responses import Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler = Callable[[Any], Coroutine[Any, Any, Response]]
Route = tuple[Handler, str]
"""A handler and the model of the path."""

ANSWERED = "perennial.answered"
"""Key of the scope with the model and the version that answered; absent from a refused request."""


async def in_a_task() -> None:
    """Return at once in a task; outside of one `DirectRoutes.at_once` ends the handler here, and a task begins it anew.

    It stands before whatever a handler of the traffic waits for, and nothing is recorded before it.
    """
    if asyncio.current_task() is None:
        await asyncio.sleep(0)


def header_texts(given: Reversible[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return request headers by lower-case name, from the server's list; a repeated header has its first value.

    All at once: a request looks for nine of them, and each look by a method of Python costs as much as decoding two.
    """
    return {name.decode("latin-1"): value.decode("latin-1") for name, value in reversed(given)}


class DirectRequest:
    """The part of Starlette's `Request` that the handlers of these routes use, under the same names.

    Attributes:
        whole: the body, where it is there before the handler is called and within the limit.
    """

    __slots__ = ("headers", "method", "path_params", "receive", "scope", "whole")

    def __init__(
        self,
        scope: Scope,
        receive: Receive | None,
        path_params: dict[str, str],
        given: dict[bytes, bytes] | None = None,
        whole: bytes | None = None,
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.path_params = path_params
        self.method = scope["method"]
        self.headers = header_texts(scope["headers"] if given is None else given.items())
        self.whole = whole


class Waiting:
    """A handler that waits for a future, as that of a read from the online store, without a task.

    Args:
        future: what it waits for.
    """

    __slots__ = ("_done", "_future", "_work")

    def __init__(self, work: Coroutine[Any, Any, Response], future: asyncio.Future[Any]) -> None:
        self._work = work
        self._future = future

    def then(self, done: Callable[[Response], None]) -> None:
        """Call a function with the response, once it is there."""
        self._done = done
        self._future.add_done_callback(self._go_on)

    def _go_on(self, _: asyncio.Future[Any]) -> None:
        try:
            # A second `in_a_task` here would give None, which is an error: it stands before whatever is waited for.
            self._future = self._work.send(None)
        except StopIteration as ended:
            self._done(ended.value)
            return
        self._future.add_done_callback(self._go_on)


class DirectRoutes:
    """ASGI application: POST `/<version>/models/<model>/<verb>` goes to a handler, all else to another application.

    Args:
        handlers: by version of the interface and verb; they answer every error themselves.
        rest: application for every other request, and for the lifespan.
    """

    def __init__(
        self,
        handlers: Mapping[tuple[str, str], Handler],
        rest: Application,
    ) -> None:
        self._handlers = handlers
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            route = self.find(scope["path"])
            if route is not None:
                handler, model = route
                response = await handler(DirectRequest(scope, receive, {"model": model}))
                await response(scope, receive, send)
                return
        await self._rest(scope, receive, send)

    def find(self, path: str) -> Route | None:
        """Return the handler of a POST to this path, and the model; None where it is another route."""
        parts = path.split("/")
        if len(parts) == 5 and parts[2] == "models" and parts[3] and not parts[0]:
            handler = self._handlers.get((parts[1], parts[4]))
            return None if handler is None else (handler, parts[3])
        return None

    def at_once(
        self, route: Route, scope: Scope, given: dict[bytes, bytes], body: bytes
    ) -> Response | Waiting | None:
        """Return the response to a request that is there as a whole, or what waits for it; None: it takes a task.

        Args:
            given: its headers by name, of which none is repeated.
        """
        # A coroutine that never waits ends with its first step, and so needs no task.
        handler, model = route
        work = handler(DirectRequest(scope, None, {"model": model}, given, body))
        try:
            future = work.send(None)
        except StopIteration as ended:
            response: Response = ended.value
            return response
        if future is not None:
            return Waiting(work, future)
        work.close()  # `in_a_task`
        return None
