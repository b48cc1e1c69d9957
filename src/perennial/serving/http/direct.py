"""Dispatch of the two routes of the traffic without Starlette, whose routing and requests cost more than a model."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from starlette.responses import Response

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Handler = Callable[[Any], Coroutine[Any, Any, Response]]

ANSWERED = "perennial.answered"
"""Key of the scope with the model and the version that answered; absent from a refused request."""


class RequestHeaders(Mapping[str, str]):
    """Request headers by lower-case name, read from the server's list once; a repeated header has its first value.

    Args:
        given: the list, or its headers by name where none is repeated.
    """

    __slots__ = ("_given",)

    def __init__(self, given: Sequence[tuple[bytes, bytes]] | dict[bytes, bytes]) -> None:
        self._given = given if isinstance(given, dict) else dict(reversed(given))

    def get(self, name: str, default: Any = None) -> Any:
        value = self._given.get(name.encode("latin-1"))
        return default if value is None else value.decode("latin-1")

    def __getitem__(self, name: str) -> str:
        return self._given[name.encode("latin-1")].decode("latin-1")

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._given)

    def __len__(self) -> int:
        return len(self._given)


class DirectRequest:
    """The part of Starlette's `Request` that the handlers of these routes use, under the same names."""

    __slots__ = ("headers", "method", "path_params", "receive", "scope")

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        path_params: dict[str, str],
        given: dict[bytes, bytes] | None = None,
    ) -> None:
        self.scope = scope
        self.receive = receive
        self.path_params = path_params
        self.method = scope["method"]
        self.headers = RequestHeaders(scope["headers"] if given is None else given)


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
            handler, model = self._find(scope["path"])
            if handler is not None:
                response = await handler(DirectRequest(scope, receive, {"model": model}))
                await response(scope, receive, send)
                return
        await self._rest(scope, receive, send)

    def knows(self, path: str) -> bool:
        """Return whether a POST to this path goes to a handler."""
        return self._find(path)[0] is not None

    def at_once(self, scope: Scope, given: dict[bytes, bytes], body: bytes) -> Response | None:
        """Return the response to a request that is there as a whole; None where a handler has to wait for more.

        Args:
            given: its headers by name, of which none is repeated.
        """
        handler, model = self._find(scope["path"])
        # An explanation is computed in a thread; an escape may hide the word.
        if handler is None or (scope["path"].endswith("/predict") and (b"explain" in body or b"\\" in body)):
            return None

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        # A coroutine that never waits ends with its first step, and so needs no task.
        work = handler(DirectRequest(scope, receive, {"model": model}, given))
        try:
            work.send(None)
        except StopIteration as ended:
            response: Response = ended.value
            return response
        work.close()
        return None

    def _find(self, path: str) -> tuple[Handler | None, str]:
        parts = path.split("/")
        if len(parts) == 5 and parts[2] == "models" and parts[3] and not parts[0]:
            return self._handlers.get((parts[1], parts[4])), parts[3]
        return None, ""
