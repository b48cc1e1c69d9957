"""TLS contexts that follow the files: each connection begins with those of then, and none has to be restarted."""

from __future__ import annotations

import logging
import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from perennial.errors import SettingsError
from perennial.internal_tls import peers
from perennial.internal_tls.identity import HINT, Identity, PublicPair, Stamp

LOG = logging.getLogger(__name__)

Files = Identity | PublicPair
Build = Callable[[Any], ssl.SSLContext]


class LiveContext(ssl.SSLContext):
    """A context whose connections are those of the newest files. Connections that are open stay as they are.

    Files that make no context (a key of another certificate) are said in the log, and those before stay in use. By
    itself this context holds no certificate and trusts nobody.

    Args:
        build: makes a context from the files.

    Raises:
        SettingsError: the files of now make no context.
    """

    _files: Files
    _build: Build
    _held: tuple[Stamp, ssl.SSLContext]
    _refused: Stamp | None

    def __new__(cls, files: Files, build: Build, protocol: int) -> LiveContext:
        self = super().__new__(cls, protocol)
        self._files, self._build, self._refused = files, build, None
        try:
            self._held = self._read(files.stamp())
        except (OSError, ValueError) as error:
            raise SettingsError(f"{files.chain}: {error}", hint=HINT) from error
        return self

    def __init__(self, *given: Any) -> None:
        """Leave everything to `__new__`, as ssl.SSLContext does."""

    def current(self) -> ssl.SSLContext:
        """Return the context of the newest files that make one."""
        held = self._held
        try:
            stamp = self._files.stamp()
        except OSError:
            return held[1]  # they are replaced at this moment; gone for good, the doctor tells it
        if stamp != held[0] and stamp != self._refused:
            try:
                held = self._held = self._read(stamp)
            except (OSError, ValueError) as error:
                if isinstance(
                    error, ssl.SSLError | ValueError
                ):  # else they could not be read: the next time perhaps
                    self._refused = stamp
                LOG.error("%s: %s; the certificate before stays in use", self._files.chain, error)
        return held[1]

    def _read(self, stamp: Stamp) -> tuple[Stamp, ssl.SSLContext]:
        return stamp, self._build(self._files.now())

    def wrap_socket(self, sock: socket.socket, *given: Any, **named: Any) -> ssl.SSLSocket:
        return self.current().wrap_socket(sock, *given, **named)

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        return self.current().wrap_bio(*given, **named)


def server_context(identity: Identity) -> LiveContext:
    """Return the context of a server that lets nobody in without a certificate of the plant."""
    return LiveContext(identity, _server, ssl.PROTOCOL_TLS_SERVER)


def client_context(identity: Identity) -> LiveContext:
    """Return the context of a client of servers with a certificate of the plant."""
    return LiveContext(identity, _client, ssl.PROTOCOL_TLS_CLIENT)


def pages_context(
    identity: Identity, trusted: Path | None, servers: frozenset[str] | None = None
) -> LiveContext:
    """Return the context of a client of the pages, and of Envoy's public address.

    Args:
        trusted: certificates to trust besides those of the plant; None: those of the system.
        servers: names of the role that has to answer, of which one is in its certificate; None: any.
    """

    def build(files: Identity) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=trusted)
        context.load_verify_locations(files.trusted)
        context.load_cert_chain(files.chain, files.key)
        return context if servers is None else _of_servers(context, servers)

    return LiveContext(identity, build, ssl.PROTOCOL_TLS_CLIENT)


def _of_servers(context: ssl.SSLContext, servers: frozenset[str]) -> ssl.SSLContext:
    """Return the context, whose handshakes fail with a server that has none of the names."""

    class Socket(ssl.SSLSocket):
        def do_handshake(self, block: bool = False) -> None:
            super().do_handshake(block)
            peers.check(self, servers)

    class Object(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            peers.check(self, servers)

    context.sslsocket_class, context.sslobject_class = Socket, Object
    return context


def files_context(chain: Path, key: Path) -> LiveContext:
    """Return the context of a server with a public certificate, which asks its clients for none."""

    def build(files: PublicPair) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(files.chain, files.key)
        return context

    return LiveContext(PublicPair(chain, key), build, ssl.PROTOCOL_TLS_SERVER)


def _server(files: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    # A resumed session would not look at the certificate of the client again, which may have ended.
    context.options |= ssl.OP_NO_TICKET
    context.num_tickets = 0
    context.load_verify_locations(files.trusted)
    context.load_cert_chain(files.chain, files.key)
    return context


def _client(files: Identity) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies certificate and host name
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(files.trusted)
    context.load_cert_chain(files.chain, files.key)
    return context
