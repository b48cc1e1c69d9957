"""The gRPC server of a model server: in the process and the event loop of its REST application."""

from __future__ import annotations

from collections.abc import Callable

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from perennial import limits
from perennial.errors import PortTaken
from perennial.internal_tls.identity import Identity
from perennial.serving.access.grpc_callers import GrpcCallers, credentials

GRACE_SECONDS = 10
"""Time for calls in progress when the server stops."""
OPTIONS = (
    ("grpc.max_receive_message_length", limits.BODY_BYTES),
    # A second server on the port would take half of the calls.
    ("grpc.so_reuseport", 0),
    # Envoy has the limit of the headers and adds its own; gRPC's own limit is lower and refuses at random.
    ("grpc.max_metadata_size", 2 * limits.HEADER_KIB * 1024),
    ("grpc.absolute_max_metadata_size", 2 * limits.HEADER_KIB * 1024),
)


class GrpcServer:
    """A server on loopback, for the router.

    Args:
        address: host:port to listen on.
        calls: the service.
        live: as `/livez` answers.
        identity: certificate of this server, and the names of the roles that may call; None: without TLS.
    """

    def __init__(
        self,
        address: str,
        calls: grpc.GenericRpcHandler,
        live: Callable[[], bool],
        identity: tuple[Identity, frozenset[str]] | None = None,
    ) -> None:
        self._identity = identity
        self._address = address
        self._calls = calls
        self._live = live
        self._server: grpc.aio.Server | None = None

    async def start(self) -> None:
        """Listen.

        Raises:
            PortTaken: another process listens on the port.
        """
        guards = () if self._identity is None else (GrpcCallers(self._identity[1]),)
        server = grpc.aio.server(options=OPTIONS, interceptors=guards)
        server.add_generic_rpc_handlers((self._calls,))
        health_pb2_grpc.add_HealthServicer_to_server(_Health(self._live), server)
        try:
            if self._identity is None:
                server.add_insecure_port(self._address)
            else:
                server.add_secure_port(self._address, credentials(self._identity[0]))
        except RuntimeError as error:
            raise PortTaken(
                f"cannot listen on {self._address} for gRPC",
                hint="set PERENNIAL_PORTS_STABLE_GRPC or PERENNIAL_PORTS_CANARY_GRPC",
            ) from error
        await server.start()
        self._server = server

    async def stop(self) -> None:
        """Refuse new calls and wait for those in progress."""
        if self._server is not None:
            await self._server.stop(GRACE_SECONDS)


class _Health(health_pb2_grpc.HealthServicer):
    """Envoy's health check, which needs no secret: it tells nothing but whether the server has started."""

    def __init__(self, live: Callable[[], bool]) -> None:
        self._live = live

    async def Check(  # noqa: N802 name of the method in the protocol
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        kinds = health_pb2.HealthCheckResponse
        return kinds(status=kinds.SERVING if self._live() else kinds.NOT_SERVING)
