"""HTTP client of the standard library for local processes: Envoy's admin interface and the model servers.

An emergency rollback uses it: the import of an HTTP library takes longer than all requests of the rollback. It
never uses a proxy of the environment.
"""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from perennial.internal_tls.caller import Caller


@dataclass(frozen=True)
class Answer:
    """The status and body of a response, with any HTTP status."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """Parse the body; raises ValueError when it is not JSON."""
        return json.loads(self.body)


class UnixConnection(http.client.HTTPConnection):
    """A connection to a Unix socket."""

    def __init__(self, path: Path, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class LoopbackHttp:
    """Client of a single server with a connection per thread.

    Args:
        address: host and port, or the path of a Unix socket.
        timeout_s: timeout of each step of a request in seconds.
        headers: headers of every request.
        caller: TLS and the role that has to answer; None: without TLS.

    Every method raises OSError when the server does not answer.
    """

    def __init__(
        self,
        address: tuple[str, int] | Path,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
        caller: Caller | None = None,
    ) -> None:
        self._address = address
        self._caller = caller
        self._headers = dict(headers or {})
        self._timeout = timeout_s
        self._local = threading.local()

    def get(self, path: str) -> Answer:
        return self._ask("GET", path, None, {})

    def post(self, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        content = json.dumps(body).encode()
        return self._ask("POST", path, content, {"content-type": "application/json", **headers})

    def close(self) -> None:
        """Close the connection of this thread."""
        held = getattr(self._local, "connection", None)
        if held is not None:
            held.close()
            self._local.connection = None

    def _ask(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send a request; repeat it on a new connection when a kept connection fails, which may be closed by now."""
        held = getattr(self._local, "connection", None)
        if held is not None:
            try:
                return self._once(held, method, path, content, headers)
            except (OSError, http.client.HTTPException):
                self.close()
        fresh = self._connection()
        try:
            answer = self._once(fresh, method, path, content, headers)
        except http.client.HTTPException as error:
            fresh.close()
            raise OSError(f"{type(error).__name__}: {error}") from error
        except OSError:
            fresh.close()
            raise
        self._local.connection = fresh
        return answer

    def _connection(self) -> http.client.HTTPConnection:
        if isinstance(self._address, Path):
            return UnixConnection(self._address, self._timeout)
        if self._caller is not None:
            from perennial.internal_tls.caller import TlsConnection

            return TlsConnection(*self._address, self._timeout, self._caller)
        return http.client.HTTPConnection(*self._address, timeout=self._timeout)

    def _once(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> Answer:
        connection.request(method, path, body=content, headers={**self._headers, **headers})
        response = connection.getresponse()
        return Answer(response.status, response.read())
