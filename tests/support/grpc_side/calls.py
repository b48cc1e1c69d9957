"""A caller of the service, and a model server's gRPC in this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import grpc
from serving_stack import free_ports
from tiny_models import WIDTH

from perennial.serving.protocol.grpc import open_inference_pb2 as wire
from perennial.serving.protocol.grpc import paths
from perennial.serving.protocol.grpc.server import GrpcServer

SECONDS = 60
"""Deadline of a call: only a hanging server meets it."""


def message(model: str, rows: int = 1, value: float = 0.25, **more) -> wire.ModelInferRequest:
    """Return a request like that of `tiny_models.tensor_body`."""
    request = wire.ModelInferRequest(model_name=model, **more)
    tensor = request.inputs.add(name="features", datatype="FP32", shape=[rows, WIDTH])
    tensor.contents.fp32_contents.extend([value] * (rows * WIDTH))
    return request


class Caller:
    """Calls on a connection of its own; with a certificate to trust or with credentials, over TLS."""

    def __init__(
        self, port: int, trusted: bytes | None = None, credentials: grpc.ChannelCredentials | None = None
    ) -> None:
        address = f"127.0.0.1:{port}"
        if trusted is not None:
            credentials = grpc.ssl_channel_credentials(trusted)
        self._channel = (
            grpc.insecure_channel(address)
            if credentials is None
            else grpc.secure_channel(address, credentials)
        )

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_) -> None:
        self._channel.close()

    def infer(self, request: wire.ModelInferRequest, **sent: str) -> wire.ModelInferResponse:
        return wire.ModelInferResponse.FromString(self.call(request.SerializeToString(), **sent))

    def call(self, content: bytes, method: str = paths.INFER, compressed: bool = False, **sent: str) -> bytes:
        """Send the bytes as the message; `_` in the name of metadata is `-`."""
        metadata = [(name.replace("_", "-"), value) for name, value in sent.items()]
        return self._channel.unary_unary(paths.path(method))(
            content, SECONDS, metadata, compression=grpc.Compression.Gzip if compressed else None
        )

    def code(self, content: bytes | wire.ModelInferRequest, method: str = paths.INFER, **more) -> str:
        """Return the name of the status."""
        sent = content if isinstance(content, bytes) else content.SerializeToString()
        try:
            self.call(sent, method, **more)
        except grpc.RpcError as error:
            return error.code().name
        return "OK"


@contextmanager
def serving(calls: grpc.GenericRpcHandler, live=lambda: True, **more) -> Iterator[int]:
    """Serve in a thread; yields the port."""
    (port,) = free_ports(1)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = GrpcServer(f"127.0.0.1:{port}", calls, live, **more)
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(SECONDS)
    try:
        yield port
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(SECONDS)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(SECONDS)
        loop.close()
