"""Small questions to processes of ours by the standard library's HTTP client.

For Envoy's admin interface and the model servers, which an emergency rollback talks to: importing an HTTP
library takes longer than all that it then asks. Never through a proxy of the environment.
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
    """Whatever was answered; an error status is an answer too."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """Raises ValueError when it is none."""
        return json.loads(self.body)


class LoopbackHttp:
    """One server; keeps a connection per thread.

    Args:
        timeout_s: of each step of a request, in seconds.

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
        """The connection of this thread."""
        held = getattr(self._local, "connection", None)
        if held is not None:
            held.close()
            self._local.connection = None

    def _ask(self, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> Answer:
        """A kept connection may have been closed meanwhile: what fails on one is asked once more on a new one."""
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
        connection, method: str, path: str, content: bytes | None, headers: Mapping[str, str]
    ) -> Answer:
        connection.request(method, path, body=content, headers=dict(headers))
        response = connection.getresponse()
        return Answer(response.status, response.read())
