"""Let one request at a time write where Airflow's database is an SQLite file, so that its API server never stalls.

Airflow's API server records who asked for what on its event loop, by a blocking write. SQLite has one writer: while
another request holds that place, the loop waits for it, and the other cannot end its transaction, because it needs
the loop for that. Nothing moves then until SQLite's timeout, for whoever asks, and one of the two fails. So requests
that may write wait for each other before they begin. A server such as PostgreSQL has no such place to wait for.
"""

from __future__ import annotations

import asyncio
from collections import deque

from starlette.types import ASGIApp, Message, Receive, Scope, Send

READING = ("GET", "HEAD", "OPTIONS")


class OneWriter:
    """ASGI middleware: a request with another method than those for reading has the application alone.

    Its body is read before its turn, so that a slow client keeps nobody else waiting.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the request, in its turn."""
        if scope["type"] != "http" or scope["method"] in READING:
            await self._app(scope, receive, send)
            return
        read = await _whole_body(receive)

        async def again() -> Message:
            return read.popleft() if read else await receive()

        async with self._turn:
            await self._app(scope, again, send)


async def _whole_body(receive: Receive) -> deque[Message]:
    """Return the messages of a body to its end, or to where the client went away."""
    messages: deque[Message] = deque()
    more = True
    while more:
        message = await receive()
        messages.append(message)
        more = message["type"] == "http.request" and message.get("more_body", False)
    return messages
