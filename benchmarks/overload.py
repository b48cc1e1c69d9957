"""Goodput of honest clients while others flood: a real Envoy, real model servers, a route with a candidate.

Honest clients and attackers have addresses of their own on loopback (Linux). Each attack runs by itself, then all
together. Goodput is the share of honest requests that are answered with 200 within two seconds.

    python benchmarks/overload.py [--seconds 5] [--rate 200]
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from serving_stack import ServingStack, stack_settings, target, until, worker_of
from tiny_models import tensor_body, tiny_version

from perennial import limits
from perennial.core.release.traffic import Route

MODEL = "overload"
PATH = f"/v2/models/{MODEL}/infer"
HONEST = "127.0.0.1"
ATTACKERS = ["127.0.0.66"]
MANY = [f"127.0.2.{number}" for number in range(1, 101)]
HONEST_RATE = 40
"""Requests per second of the honest clients together."""
PATIENCE = 2.0
GOODPUT = 0.8
"""Least goodput under attack."""
MEMORY_MIB = 2048
"""Most memory of Envoy and the model servers together."""
GOOD = json.dumps(tensor_body()).encode()
BAD = (
    b"{", b"[" * 900 + b"]" * 900, b'{"inputs": 1}', json.dumps(tensor_body(value=1e300)).encode(),
    json.dumps(tensor_body()).replace("0.25", '"nan"').encode(),
    json.dumps(tensor_body(limits.ROWS + 1)).encode(),
)  # fmt: skip


class Flood:
    """Threads of an attacker until the end of a block."""

    def __init__(
        self, port: int, attacks: list[Callable[[Flood], None]], threads: int, addresses: list[str]
    ) -> None:
        self.port, self.sent, self.stop = port, 0, threading.Event()
        self.addresses = itertools.cycle(addresses)
        self._threads = [
            threading.Thread(target=self._repeat, args=(attack,), daemon=True)
            for attack in attacks
            for _ in range(threads)
        ]

    def _repeat(self, attack: Callable[[Flood], None]) -> None:
        while not self.stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException):
                attack(self)

    def __enter__(self) -> Flood:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join(timeout=15)

    @contextmanager
    def connection(self) -> Iterator[http.client.HTTPConnection]:
        connection = http.client.HTTPConnection(
            "127.0.0.1", self.port, timeout=5, source_address=(next(self.addresses), 0)
        )
        try:
            yield connection
        finally:
            connection.close()

    def post(self, bodies: tuple[bytes, ...]) -> None:
        with self.connection() as connection:
            for number in range(100):
                if self.stop.is_set():
                    return
                connection.request("POST", PATH, bodies[number % len(bodies)])
                connection.getresponse().read()
                self.sent += 1


def overload(flood: Flood) -> None:
    """Send good requests as fast as Envoy takes them."""
    flood.post((GOOD,))


def bad_requests(flood: Flood) -> None:
    flood.post(BAD)


def large_bodies(flood: Flood) -> None:
    """Send bodies of twice the limit."""
    flood.post((b" " * (2 * limits.BODY_BYTES),))


def half_open(flood: Flood) -> None:
    """Hold connections with half-sent headers and bodies, until Envoy ends them."""
    half = f"POST {PATH} HTTP/1.1\r\nhost: x\r\ncontent-length: 4000000\r\n\r\n".encode()
    held: list[socket.socket] = []
    try:
        while not flood.stop.is_set() and len(held) < 300:
            held.append(
                socket.create_connection(
                    ("127.0.0.1", flood.port), 5, source_address=(next(flood.addresses), 0)
                )
            )
            held[-1].sendall(half + b"{" * 60_000 if len(held) % 2 else half[:30])
            flood.sent += 1
        flood.stop.wait(limits.REQUEST_SECONDS)
    finally:
        for connection in held:
            connection.close()


ATTACKS: dict[str, tuple[list[Callable[[Flood], None]], int, list[str]]] = {
    "nobody": ([], 0, ATTACKERS),
    "overload": ([overload], 16, ATTACKERS),
    "bad requests": ([bad_requests], 16, ATTACKERS),
    "large bodies": ([large_bodies], 4, ATTACKERS),
    "half-open": ([half_open], 4, ATTACKERS),
    "100 addresses": ([overload, bad_requests], 16, MANY),
    "all together": ([overload, bad_requests, large_bodies, half_open], 4, ATTACKERS),
}


def goodput(port: int, seconds: float) -> float:
    """Return the share of honest requests, sent at a constant rate, that are answered in time."""
    answered: list[bool] = []
    clients = 8

    def client(number: int) -> None:
        begin = time.monotonic() + number / HONEST_RATE
        for turn in range(int(seconds * HONEST_RATE / clients)):
            time.sleep(max(0.0, begin + turn * clients / HONEST_RATE - time.monotonic()))
            connection = http.client.HTTPConnection(HONEST, port, timeout=PATIENCE)
            try:
                connection.request("POST", PATH, GOOD)
                answered.append(connection.getresponse().status == 200)
            except (OSError, http.client.HTTPException):
                answered.append(False)
            finally:
                connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(answered) / len(answered)


def memory_mib(stack: ServingStack) -> float:
    """Return the resident memory of Envoy and of every model server's worker."""
    processes = [
        process.pid if name == "envoy" else worker_of(process.pid)
        for name, process in stack._processes.items()
    ]
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in processes)
    return pages * 4096 / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="per attack")
    parser.add_argument("--rate", type=int, default=200, help="PERENNIAL_CLIENT_RATE")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        stack = ServingStack(folder)
        stack.settings = stack_settings(folder, client_rate=asked.rate)
        stack = _with(stack)
        try:
            stack.start()
            failures = measure(stack, folder, asked.seconds)
        finally:
            stack.stop()
    for failure in failures:
        print(f"FAILED: {failure}")
    sys.exit(bool(failures))


def _with(stack: ServingStack) -> ServingStack:
    """Bind pool and router to the changed settings."""
    from perennial.wiring import traffic

    stack.pool, stack.router = traffic.pool(stack.settings), traffic.router(stack.settings)
    return stack


def measure(stack: ServingStack, folder: Path, seconds: float) -> list[str]:
    """Print a line per attack; return what does not hold."""
    champion = tiny_version(folder, MODEL, "1.0.0", bias=0.0)
    candidate = tiny_version(folder, MODEL, "1.1.0", bias=1.0)
    stack.load("stable", *champion)
    stack.load("canary", *candidate)
    stack.router.apply(
        Route(
            model=MODEL,
            stable=target(champion[0], "r1"),
            canary=target(candidate[0], "r2"),
            canary_weight=20.0,
        )
    )
    until(lambda: dict(stack.router.healthy(MODEL)) == {"stable": 2, "canary": 1}, 30, "healthy")
    failures, port = [], stack.settings.port_envoy
    print(f"{'attack':14} {'goodput':>8} {'attack/s':>9} {'MiB':>6} {'candidate errors':>17}")
    for attack, (kinds, threads, addresses) in ATTACKS.items():
        before = stack.router.counters(MODEL)["canary"]
        with Flood(port, kinds, threads, addresses) as flood:
            began = time.monotonic()
            share = goodput(port, seconds)
            rate, memory = flood.sent / (time.monotonic() - began), memory_mib(stack)
        errors = stack.router.counters(MODEL)["canary"].since(before).errors
        print(f"{attack:14} {share:8.1%} {rate:9.0f} {memory:6.0f} {errors:17}")
        for bad, text in (
            (share < GOODPUT, f"goodput {share:.1%} under {attack}"),
            (memory > MEMORY_MIB, f"{memory:.0f} MiB under {attack}"),
            (errors, f"{errors} errors of the candidate under {attack}"),
        ):
            if bad:
                failures.append(text)
    return failures


if __name__ == "__main__":
    main()
