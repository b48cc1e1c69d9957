"""The role in the certificate of MLflow's server, which MLflow's own client does not look at.

That client asks with requests over urllib3, and takes files for its TLS, no context. What it can be given is the class
of urllib3's connections, which is an attribute of the class of its pools.
"""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

from urllib3.connection import HTTPSConnection
from urllib3.connectionpool import HTTPSConnectionPool

from perennial.internal_tls import peers

_SERVERS: dict[tuple[str, int], frozenset[str]] = {}
"""Host and port of a server -> names of the role that has to answer there."""


class RoleConnection(HTTPSConnection):
    """A connection that ends before the first byte of a request where another role answers."""

    def connect(self) -> None:
        super().connect()
        allowed = _SERVERS.get((self.host, self.port))
        if allowed is None:
            return
        try:
            if not isinstance(self.sock, ssl.SSLSocket):
                raise peers.WrongRole(f"{self.host}:{self.port} is reached through a proxy")
            peers.check(self.sock, allowed)
        except ssl.SSLError:
            self.close()
            raise


def require(address: str, servers: frozenset[str]) -> None:
    """Have this process speak with a server only where its certificate has one of the names.

    Args:
        address: of the server, https.
    """
    parts = urlsplit(address)
    _SERVERS[parts.hostname or "", parts.port or HTTPSConnection.default_port] = servers
    HTTPSConnectionPool.ConnectionCls = RoleConnection
