"""Probe: a synthetic prediction directly at a model server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from perennial.adapters.loopback_http import LoopbackHttp
from perennial.serving import headers

if TYPE_CHECKING:
    from perennial.internal_tls.caller import Caller

TIMEOUT_S = 3.0


class BentoProbe:
    """Probe port.

    Args:
        host: address of the servers.
        servers: pool name -> port of each of its servers.
        secret: shared secret that the servers require.
        caller: TLS to the servers; None: without.
    """

    def __init__(
        self,
        host: str,
        servers: Mapping[str, Sequence[int]],
        secret: str = "",
        caller: Caller | None = None,
    ) -> None:
        self._caller = caller
        self._secret = {headers.SECRET: secret}
        self._host = host
        self._servers = servers

    def predict(self, pool: str, model: str, digest: str, body: Mapping[str, Any]) -> str:
        """Ask the servers in turn until a server answers with the version; see `ports.Probe.predict`."""
        return self._ask_each(pool, f"/v1/models/{model}/predict", digest, body)

    def infer(self, pool: str, model: str, digest: str, body: Mapping[str, Any]) -> str:
        """As `predict`, by tensor."""
        return self._ask_each(pool, f"/v2/models/{model}/infer", digest, body)

    def _ask_each(self, pool: str, path: str, digest: str, body: Mapping[str, Any]) -> str:
        problem = f"pool {pool} has no servers"
        for port in self._servers[pool]:
            problem = self._ask(port, path, digest, body)
            if not problem:
                break
        return problem

    def _ask(self, port: int, path: str, digest: str, body: Mapping[str, Any]) -> str:
        client = LoopbackHttp((self._host, port), TIMEOUT_S, self._secret, self._caller)
        sent = {headers.DIGEST: digest, headers.SYNTHETIC: "true"}
        try:
            answer = client.post(path, body, sent)
            content = answer.json()
        except (OSError, ValueError) as error:
            return f"{self._host}:{port}: {error}"
        finally:
            client.close()
        if answer.status != 200:
            return f"{answer.status} {content.get('error', '')[:200]}"
        answering = content.get("digest") or content.get("parameters", {}).get("digest")
        version = content.get("version") or content.get("model_version")
        return "" if answering == digest else f"another version answers: {version}"
