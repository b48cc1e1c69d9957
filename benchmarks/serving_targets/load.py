"""Client of a benchmark: connections that send the next request as soon as the last one is answered.

It runs as a process of its own, so that its processor time counts for no server. Prints JSON: requests, seconds, and
the latencies p50 and p99 in ms.

    python load.py PORT PATH SECONDS CONNECTIONS < bodies   (a JSON list of header lines, then a base64 body per line)
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import sys
import time

import numpy as np
import uvloop


class Connection(asyncio.Protocol):
    """Sends requests in turn and measures how long each answer takes."""

    def __init__(self, requests: itertools.cycle, latencies: list[float], until: float) -> None:
        self._requests = requests
        self._latencies = latencies
        self._until = until
        self._received = b""
        self._expected = 0
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport) -> None:
        self._transport = transport
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._expected:
            head, found, _ = self._received.partition(b"\r\n\r\n")
            if not found:
                return
            if not head.startswith(b"HTTP/1.1 200"):
                self._fail(f"answered {self._received[:500].decode(errors='replace')}")
                return
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
            self._expected = len(head) + 4 + int(length)
        if len(self._received) >= self._expected:
            self._latencies.append(time.perf_counter() - self._sent)
            self._send()

    def connection_lost(self, error: Exception | None) -> None:
        self._fail(f"the connection was lost: {error}")

    def _send(self) -> None:
        self._received, self._expected = b"", 0
        self._sent = time.perf_counter()
        if self._sent < self._until:
            self._transport.write(next(self._requests))
        elif not self.done.done():
            self.done.set_result(None)
            self._transport.close()

    def _fail(self, reason: str) -> None:
        if not self.done.done():
            self.done.set_exception(RuntimeError(reason))
            self._transport.close()


async def load(
    port: int, path: str, seconds: float, connections: int, headers: list[str], bodies: list[bytes]
) -> dict:
    """Send the bodies in turn; return the figures."""
    lines = "".join(f"{line}\r\n" for line in ["host: benchmark", "content-type: application/json", *headers])
    head = f"POST {path} HTTP/1.1\r\n{lines}content-length: "
    requests = itertools.cycle([f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies])
    latencies: list[float] = []
    loop, began = asyncio.get_running_loop(), time.perf_counter()
    opened = [
        await loop.create_connection(
            lambda: Connection(requests, latencies, began + seconds), "127.0.0.1", port
        )
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in opened))
    took = time.perf_counter() - began
    p50, p99 = np.percentile(latencies, [50, 99]) * 1000
    return {"requests": len(latencies), "seconds": took, "p50_ms": p50, "p99_ms": p99}


if __name__ == "__main__":
    port, path, seconds, connections = sys.argv[1:]
    first, *lines = sys.stdin.buffer.read().splitlines()
    bodies = [base64.b64decode(line) for line in lines]
    print(
        json.dumps(
            uvloop.run(load(int(port), path, float(seconds), int(connections), json.loads(first), bodies))
        )
    )
