"""Probe: one synthetic prediction straight to a model server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from perennial.adapters.loopback_http import LoopbackHttp
from perennial.serving import headers

TIMEOUT_S = 3.0


class BentoProbe:
    """Probe port.

    Args:
        host: address that the servers listen on.
        servers: pool name -> port of each of its servers.
    """

    def __init__(self, host: str, servers: Mapping[str, Sequence[int]]) -> None:
        self._host = host
        self._servers = servers

    def predict(self, pool: str, model: str, digest: str, body: Mapping[str, Any]) -> str:
        """A server that has not loaded the version refuses, and the next one is asked."""
        said = f"pool {pool} has no servers"
        for port in self._servers[pool]:
            said = self._ask(port, model, digest, body)
            if not said:
                break
        return said

    def _ask(self, port: int, model: str, digest: str, body: Mapping[str, Any]) -> str:
        client = LoopbackHttp(self._host, port, TIMEOUT_S)
        sent = {headers.DIGEST: digest, headers.SYNTHETIC: "true"}
        try:
            answer = client.post(f"/v1/models/{model}/predict", body, sent)
            told = answer.json()
        except (OSError, ValueError) as error:
            return f"{self._host}:{port}: {error}"
        finally:
            client.close()
        if answer.status != 200:
            return f"{answer.status} {told.get('error', '')[:200]}"
        return "" if told.get("digest") == digest else f"another version answers: {told.get('version')}"
