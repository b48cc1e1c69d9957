"""uvicorn's HTTP protocol with a short way for the traffic: a whole request is answered without a task of its own.

uvicorn makes a task, two events and a timer for each request, and hands it through ASGI: that costs more than a model.
Here a request of the traffic is collected, answered by one call and written by one write. Every other request, and one
that needs more than that (an explanation, a body in chunks, a client that does not read), goes uvicorn's way.
"""

from __future__ import annotations

import asyncio
import re
from asyncio import TimerHandle
from functools import lru_cache, partial
from typing import Any

from starlette.responses import Response
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from perennial import limits
from perennial.serving.access.door import CLIENT, Door
from perennial.serving.http.direct import DirectRoutes, Route, Scope, Waiting
from perennial.serving.http.known_callers import KnownCallers

LENGTH = b"content-length"
NOT_WHOLE = frozenset((b"expect", b"transfer-encoding", b"upgrade"))
"""Headers of requests that go uvicorn's way."""
MOST_IN_TURN = 8
"""Requests of one read that are answered without a task: a client that does not wait for answers is then read no
further until it has them, and the other connections get their turn."""
SPECIAL = re.compile(rb"[^!-~]|[%?#]")
"""Characters that no address of a request of the traffic has."""
KNOWN, SHORT = 2048, 256
"""Addresses whose routes are kept, and the most bytes of one."""


class DirectTraffic:
    """The routes of the traffic behind the door of a server."""

    def __init__(self, routes: DirectRoutes, door: Door) -> None:
        self._routes = routes
        self._door = door

        self._known = lru_cache(maxsize=KNOWN)(self._find)

    def find(self, url: bytes) -> tuple[str, Route] | None:
        """Return the path and the route of an address; None where it is not of the traffic."""
        return self._known(url) if len(url) <= SHORT else self._find(url)

    def _find(self, url: bytes) -> tuple[str, Route] | None:
        if SPECIAL.search(url):
            return None
        path = url.decode("ascii")
        route = self._routes.find(path)
        return None if route is None else (path, route)

    def admit(self, path: str, given: dict[bytes, bytes]) -> Scope | None:
        """Return the scope of a request, as far as the routes use it; None where nobody lets it in.

        Its body is not there yet.
        """
        try:
            client = self._door.admit(given, path)
        except Exception:  # noqa: BLE001 the door says so itself, on uvicorn's way; in the parser, any is a 400
            return None
        scope: Scope = {"method": "POST", "path": path}
        if client is not None:
            scope[CLIENT] = client
        return scope

    def answer(
        self, route: Route, scope: Scope, given: dict[bytes, bytes], body: bytes
    ) -> Response | Waiting | None:
        """Return the response, or what waits for it; None where it takes a task."""
        return self._routes.at_once(route, scope, given, body)


class _Unanswered:
    """A stand-in for uvicorn's cycle while a request waits: uvicorn keeps those behind it in order."""

    response_complete = False
    disconnected = False
    keep_alive = True
    message_event = asyncio.Event()


class WholeRequests(KnownCallers):
    """A connection; requests of the traffic are answered as soon as they are whole.

    Args:
        traffic: answers them. The others are those of uvicorn's protocol.
    """

    def __init__(self, *given: Any, traffic: DirectTraffic, **named: Any) -> None:
        super().__init__(*given, **named)
        self._traffic = traffic
        self._collected: tuple[Route | None, Scope, dict[bytes, bytes]] | None = None
        self._parts: list[bytes] = []
        self._in_turn = 0
        self._ending = False
        self._answered_at = 0.0
        self._between = False
        self._idle: TimerHandle | None = None

    def data_received(self, data: bytes) -> None:
        self._in_turn = 0
        super().data_received(data)

    def on_message_begin(self) -> None:
        self._between = False
        self.url, self.headers = b"", []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._collected = self._request()
        if self._collected is None:
            self._go_uvicorns_way()

    def _go_uvicorns_way(self) -> None:
        """Give uvicorn what was read of the request so far: most requests need neither its scope nor its events."""
        url, given = self.url, self.headers
        super().on_message_begin()
        super().on_url(url)
        for name, value in given:
            super().on_header(name, value)
        super().on_headers_complete()

    def _request(self) -> tuple[Route | None, Scope, dict[bytes, bytes]] | None:
        """Return route, scope and headers of a request to collect; None for one that goes uvicorn's way.

        Without a route it is dropped when it is whole.
        """
        parser = self.parser
        if self.transport.is_closing():  # came with the one that was answered last: nobody gets this answer
            return None, {}, {}
        if (
            (known := self._traffic.find(self.url)) is None
            or parser.get_method() != b"POST"
            or (self.cycle is not None and not self.cycle.response_complete)
            or self.flow.write_paused
            or self._in_turn >= MOST_IN_TURN
            or parser.get_http_version() != "1.1"
        ):
            return None
        given = dict(self.headers)
        length = given.get(LENGTH, b"")
        if (
            len(given) != len(self.headers)
            or not length.isdigit()
            or len(length) > limits.LENGTH_DIGITS
            or int(length) > limits.BODY_BYTES
            or not NOT_WHOLE.isdisjoint(given)
        ):
            return None
        path, route = known
        scope = self._traffic.admit(path, given)
        return None if scope is None else (route, scope, given)

    def on_body(self, body: bytes) -> None:
        if self._collected is None:
            super().on_body(body)
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        collected = self._collected
        if collected is None:
            super().on_message_complete()
            return
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._collected, self._parts = None, []
        route, scope, given = collected
        if route is None:
            return
        response = self._traffic.answer(route, scope, given, body)
        if isinstance(response, Response):
            self._write(response, self.parser.should_keep_alive())
            return
        if response is not None:
            unanswered: Any = _Unanswered()
            self.cycle = unanswered
            response.then(partial(self._write_later, unanswered, self.parser.should_keep_alive()))
            return
        self._go_uvicorns_way()
        super().on_body(body)
        super().on_message_complete()
        if self._ending:
            self.cycle.keep_alive = False

    def _write_later(self, unanswered: _Unanswered, keep_alive: bool, response: Response) -> None:
        """Answer a request that has waited, and let uvicorn go on with those that came behind it meanwhile."""
        unanswered.response_complete = True
        if self.transport.is_closing():
            return
        self._write(response, keep_alive)
        if self.pipeline and not self.transport.is_closing():
            self._between = False
            self.on_response_complete()

    def _write(self, response: Response, keep_alive: bool) -> None:
        content = [STATUS_LINE[response.status_code]]
        for name, value in self.server_state.default_headers:
            content += (name, b": ", value, b"\r\n")
        for name, value in response.raw_headers:
            content += (name, b": ", value, b"\r\n")
        keep = keep_alive and not self._ending
        content += (b"\r\n", response.body) if keep else (b"connection: close\r\n\r\n", response.body)
        self.transport.write(b"".join(content))
        self.server_state.total_requests += 1
        self._in_turn += 1
        if not keep:
            self.transport.close()
            return
        self._between, self._answered_at = True, self.loop.time()
        if self._idle is None:
            self._idle = self.loop.call_later(self.timeout_keep_alive, self._close_if_idle)

    def _close_if_idle(self) -> None:
        """Close the connection when nothing came for the time since the last answer, else look again after the rest.

        uvicorn makes and cancels a timer for each request, which costs as much as the door.
        """
        self._idle = None
        if not self._between or self.transport.is_closing():
            return  # the next answer begins anew
        rest = self._answered_at + self.timeout_keep_alive - self.loop.time()
        if rest > 0:
            self._idle = self.loop.call_later(rest, self._close_if_idle)
        else:
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        super().connection_lost(exc)

    def shutdown(self) -> None:
        """Close the connection, after the answer to the request that is on its way."""
        self._ending = True
        if self._collected is None:
            super().shutdown()
