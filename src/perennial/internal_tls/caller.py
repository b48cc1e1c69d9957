"""The client's side: a connection to a server of the plant, whose role is verified, too."""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass

from perennial.internal_tls import peers
from perennial.internal_tls.contexts import LiveContext


@dataclass(frozen=True)
class Caller:
    """The client of the servers of a role.

    Attributes:
        context: with the certificate of this process.
        servers: names of the role that has to answer.
    """

    context: LiveContext
    servers: frozenset[str]

    def wrap(self, plain: socket.socket, host: str) -> ssl.SSLSocket:
        """Return the connection with TLS.

        Raises:
            OSError: no handshake, or another role answers.
        """
        secured = self.context.wrap_socket(plain, server_hostname=host)
        try:
            peers.check(secured, self.servers)
        except ssl.SSLError:
            secured.close()
            raise
        return secured


class TlsConnection(http.client.HTTPConnection):
    """An HTTP connection to a server of the plant."""

    def __init__(self, host: str, port: int, timeout: float, caller: Caller) -> None:
        super().__init__(host, port, timeout=timeout)
        self._caller = caller

    def connect(self) -> None:
        super().connect()
        plain = self.sock
        try:
            self.sock = self._caller.wrap(plain, self.host)
        except OSError:
            plain.close()
            raise
