"""The web server of the metrics page: threads, and TLS with certificates on both sides where the plant has it."""

from __future__ import annotations

import logging
import socket
import ssl
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from perennial.internal_tls import peers
from perennial.internal_tls.contexts import LiveContext

LOG = logging.getLogger(__name__)
SECONDS = 10
"""Time for a handshake, and for a reader that sends nothing."""


class ThreadingServer(ThreadingMixIn, WSGIServer):
    """A server whose slow readers do not hold up others."""

    daemon_threads = True
    allow_reuse_address = True


class QuietHandler(WSGIRequestHandler):
    """A handler without a log line per request; a reader that sends nothing is dropped."""

    timeout = SECONDS

    def log_message(self, format: str, *args: Any) -> None:
        """Log nothing."""


def secured(context: LiveContext, callers: frozenset[str]) -> type[ThreadingServer]:
    """Return the server for the callers of some roles; the handshake is made in the thread of the connection."""

    class SecuredServer(ThreadingServer):
        def finish_request(self, request: Any, client_address: Any) -> None:
            plain: socket.socket = request
            plain.settimeout(SECONDS)
            try:
                with context.wrap_socket(plain, server_side=True) as connection:
                    peers.check(connection, callers)
                    super().finish_request(connection, client_address)  # type: ignore[arg-type]
            except (ssl.SSLError, OSError) as error:
                LOG.warning("connection refused: %s", error)

    return SecuredServer
