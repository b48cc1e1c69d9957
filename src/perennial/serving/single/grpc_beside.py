"""gRPC of one model on loopback, in the event loop of its REST application."""

from __future__ import annotations

from perennial.serving.http.direct import Application, Receive, Scope, Send
from perennial.serving.protocol.grpc.server import GrpcServer


class BesideGrpc:
    """ASGI middleware that starts and stops a gRPC server with the application."""

    def __init__(self, application: Application, server: GrpcServer) -> None:
        self._application = application
        self._server = server

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            await self._application(scope, receive, send)
            return
        await receive()
        await self._server.start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._server.stop()
        await send({"type": "lifespan.shutdown.complete"})
