"""A gRPC call as HTTP/2 frames, with headers and trailers that no gRPC library sends."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from perennial.serving.protocol.grpc import paths

HEADERS, DATA, RST_STREAM, GOAWAY = 1, 0, 3, 7
END_STREAM, END_HEADERS = 1, 4
SECONDS = 60
"""Without a byte of the answer: only a hanging server meets it."""

Field = tuple[bytes, bytes]


def ask(port: int, content: bytes, sent: Sequence[Field] = (), trailers: Sequence[Field] = ()) -> None:
    """Send a call of `ModelInfer` on a connection of its own, and wait until it is answered or reset."""
    given = (
        (b":method", b"POST"), (b":scheme", b"http"), (b":path", paths.path(paths.INFER).encode()),
        (b":authority", b"x"), (b"content-type", b"application/grpc"), *sent,
    )  # fmt: skip
    data = b"\0" + len(content).to_bytes(4, "big") + content
    frames = [_frame(4, 0, 0, b""), _frame(HEADERS, END_HEADERS, 1, _fields(given))]
    frames.append(_frame(DATA, 0 if trailers else END_STREAM, 1, data))
    if trailers:
        frames.append(_frame(HEADERS, END_HEADERS | END_STREAM, 1, _fields(trailers)))
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"".join(frames))
        answer = connection.makefile("rb")
        while head := answer.read(9):
            answer.read(int.from_bytes(head[:3], "big"))
            ends = head[3] in (HEADERS, DATA) and head[4] & END_STREAM
            if ends or head[3] in (RST_STREAM, GOAWAY):
                return


def _frame(kind: int, flags: int, stream: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + content


def _fields(given: Sequence[Field]) -> bytes:
    """Return headers as HPACK literals, which need no table: each text is shorter than 127 bytes."""
    return b"".join(b"\0" + bytes([len(name)]) + name + bytes([len(value)]) + value for name, value in given)
