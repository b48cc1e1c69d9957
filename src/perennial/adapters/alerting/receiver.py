"""The web server that takes Alertmanager's messages: a bearer token, a bounded body, one path."""

from __future__ import annotations

import errno
import hmac
import logging
import socket
from collections.abc import Callable, Iterable
from typing import Any
from wsgiref.simple_server import make_server

from perennial.adapters.prometheus.metrics_server import SECONDS, QuietHandler, ThreadingServer
from perennial.errors import MalformedInput, PerennialError, PortTaken

LOG = logging.getLogger(__name__)
LARGEST_BODY = 1 << 20
"""Bytes of a message. One with 50 alerts is about 100 kB."""
LIVE = "/livez"
Take = Callable[[bytes], bool]
"""Takes the body of a message; returns False if it was known. Any error but MalformedInput asks for it again."""


class AlertServer(ThreadingServer):
    """A server whose callers do not wait for each other; one that sends nothing is dropped."""

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        connection.settimeout(SECONDS)
        return connection, address


def listening(host: str, port: int, path: str, token: str, take: Take) -> AlertServer:
    """Return a server for one path that already listens; `serve_forever` answers.

    Raises:
        PortTaken: another program listens on the port.
    """
    try:
        return make_server(host, port, _application(path, token, take), AlertServer, QuietHandler)  # type: ignore[return-value]
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        raise PortTaken(
            f"port {port} of {host} is taken", hint="stop what listens there, or set PERENNIAL_PORT_ALERTS"
        ) from error


def _application(path: str, token: str, take: Take) -> Any:
    def application(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
        if environ.get("PATH_INFO") == LIVE:
            return _said(start, "200 OK", "live")
        said = environ.get("HTTP_AUTHORIZATION", "").removeprefix("Bearer ")
        if not hmac.compare_digest(said.encode(), token.encode()):
            return _said(start, "401 Unauthorized", "send the secret of the alerts as a bearer token")
        if environ.get("PATH_INFO") != path or environ["REQUEST_METHOD"] != "POST":
            return _said(start, "404 Not Found", f"POST {path}")
        length = environ.get("CONTENT_LENGTH", "")
        if not length.isdecimal():
            return _said(start, "411 Length Required", "a message has a length")
        if int(length) > LARGEST_BODY:
            return _said(start, "413 Content Too Large", f"at most {LARGEST_BODY} bytes; max_alerts")
        body = environ["wsgi.input"].read(int(length))
        try:
            return _said(start, "200 OK", "recorded" if take(body) else "known")
        except MalformedInput as error:
            return _said(start, "400 Bad Request", error.message)
        except PerennialError as error:  # Alertmanager asks again
            LOG.warning("%s: %s", type(error).__name__, error.message)
            return _said(start, "503 Service Unavailable", type(error).__name__)

    return application


def _said(start: Any, status: str, text: str) -> list[bytes]:
    start(status, [("content-type", "text/plain; charset=utf-8")])
    return [f"{text}\n".encode()]
