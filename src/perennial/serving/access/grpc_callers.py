"""TLS of the gRPC server: certificates that follow the files, and callers by their role."""

from __future__ import annotations

import logging
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from perennial.internal_tls import peers
from perennial.internal_tls.identity import Identity, Stamp

LOG = logging.getLogger(__name__)
URIS = "peer_uri"
"""Property of a call with the names of the kind URI in the certificate of the caller, which gRPC has verified."""


class Certificates:
    """The files of now, for each handshake; those before where the new ones cannot be read."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._stamp: Stamp = identity.stamp()
        self._reading = threading.Lock()

    def read(self) -> grpc.ServerCertificateConfiguration:
        files = self._identity.now()
        pair = files.key.read_bytes(), files.chain.read_bytes()
        return grpc.ssl_server_certificate_configuration([pair], files.trusted.read_bytes())

    def changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the files where they are others than at the last call, else None."""
        with self._reading:
            try:
                stamp = self._identity.stamp()
                if stamp == self._stamp:
                    return None
                files = self.read()
                self._stamp = stamp  # what could not be read is read at the next call
                return files
            except OSError as error:
                LOG.error("%s: %s; the certificate before stays in use", self._identity.folder, error)
                return None


def credentials(identity: Identity) -> grpc.ServerCredentials:
    """Return the credentials of a server that lets nobody in without a certificate of the plant."""
    certificates = Certificates(identity)
    return grpc.dynamic_ssl_server_credentials(
        certificates.read(), certificates.changed, require_client_authentication=True
    )


class GrpcCallers(grpc.aio.ServerInterceptor):
    """Interceptor that refuses callers of other roles.

    Args:
        callers: names of the roles that may call.
    """

    def __init__(self, callers: frozenset[str]) -> None:
        self._callers = callers

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[grpc.RpcMethodHandler]], details: Any
    ) -> grpc.RpcMethodHandler | None:
        """Return the handler of a call, which answers callers of these roles only; none for a stream: we have none."""
        handler = await continuation(details)
        answer = None if handler is None else handler.unary_unary
        if handler is None or answer is None:
            return None

        async def guarded(request: Any, context: grpc.aio.ServicerContext) -> Any:
            roles = frozenset(name.decode() for name in context.auth_context().get(URIS, ()))
            if not roles & self._callers:
                said = peers.problem(roles, self._callers)
                LOG.warning("call refused: %s", said)
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, said)
            return await answer(request, context)

        return grpc.unary_unary_rpc_method_handler(
            guarded, handler.request_deserializer, handler.response_serializer
        )
