"""HTTP client of the standard library for local processes: Envoy's admin interface and the model servers.

An emergency rollback uses it: the import of an HTTP library takes longer than all requests of the rollback. It
never uses a proxy of the environment.
"""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


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


class LoopbackHttp:
    """Client of a single server with a connection per thread.

    Args:
        timeout_s: timeout of each step of a request in seconds.

    Every method raises OSError when the server does not answer.
    """

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._address = (host, port)
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
        fresh = http.client.HTTPConnection(*self._address, timeout=self._timeout)
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

    @staticmethod
    def _once(
        connection: http.client.HTTPConnection,
        method: str,
        path: str,
        content: bytes | None,
        headers: Mapping[str, str],
    ) -> Answer:
        connection.request(method, path, body=content, headers=dict(headers))
        response = connection.getresponse()
        return Answer(response.status, response.read())
