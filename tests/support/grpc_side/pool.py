"""A gRPC server of a pool without a model: answers with its pool's name, and fails as the call asks it to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from perennial.serving.protocol.grpc import open_inference_pb2 as wire
from perennial.serving.protocol.grpc import paths


class GrpcPool:
    """Attributes: port: where it listens; seen: metadata of each call, in order.

    A call with the metadata `x-code-<pool>: INTERNAL` ends in that status at the pool, with `x-code` at both.
    """

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self.seen: list[dict[str, str]] = []
        self._server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
        methods = (*paths.OF_MODEL, *paths.OF_SERVER, *paths.OF_REPOSITORY)
        handlers = {name: grpc.unary_unary_rpc_method_handler(self._answer) for name in methods}
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(paths.SERVICE, handlers),)
        )
        health_pb2_grpc.add_HealthServicer_to_server(_Healthy(), self._server)
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def stop(self) -> None:
        self._server.stop(None).wait()

    def _answer(self, message: bytes, context: grpc.ServicerContext) -> bytes:
        given = dict(context.invocation_metadata())
        self.seen.append(given)
        code = given.get(f"x-code-{self._pool}") or given.get("x-code")
        if code:
            context.abort(grpc.StatusCode[code], "as asked")
        return wire.ModelInferResponse(model_version=self._pool).SerializeToString()


class _Healthy(health_pb2_grpc.HealthServicer):
    def Check(self, request, context):  # noqa: N802 name of the method in the protocol
        return health_pb2.HealthCheckResponse(status=health_pb2.HealthCheckResponse.SERVING)
