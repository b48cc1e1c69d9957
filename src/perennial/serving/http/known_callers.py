"""The server's side under uvicorn: a connection whose certificate is of a wrong role gets a 403 and ends."""

from __future__ import annotations

import logging
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from perennial.internal_tls import peers

LOG = logging.getLogger(__name__)
GOODBYE_SECONDS = 0.5
"""Time between two looks at a connection that is to end, when the server stops."""


class KnownCallers(HttpToolsProtocol):
    """uvicorn's HTTP protocol for the callers of a role; the role is verified once per connection.

    Args:
        callers: names of the roles that may call; None: whoever the TLS context let in.
    """

    def __init__(self, *given: Any, callers: frozenset[str] | None = None, **named: Any) -> None:
        super().__init__(*given, **named)
        self._callers = callers
        self._turned_away = False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        if self._callers is None:
            return
        shown = transport.get_extra_info("ssl_object")
        roles = peers.names(shown) if shown is not None else frozenset[str]()
        if roles & self._callers:
            return
        self._turned_away = True
        said = peers.problem(roles, self._callers)
        LOG.warning("connection refused: %s", said)
        body = said.encode()
        head = f"HTTP/1.1 403 Forbidden\r\ncontent-type: text/plain\r\ncontent-length: {len(body)}\r\n"
        transport.write(head.encode() + b"connection: close\r\n\r\n" + body)
        transport.close()

    def data_received(self, data: bytes) -> None:
        if not self._turned_away:
            super().data_received(data)

    def shutdown(self) -> None:
        super().shutdown()
        if self.transport.get_extra_info("ssl_object") is not None:
            self.loop.call_later(GOODBYE_SECONDS, self._end, False)

    def _end(self, was_closing: bool) -> None:
        """End a connection whose other end does not answer the end of TLS, for which asyncio waits half a minute."""
        if was_closing:
            self.transport.abort()
        else:
            self.loop.call_later(GOODBYE_SECONDS, self._end, self.transport.is_closing())
