"""Goodput of honest clients while others flood and a release is judged: a real Envoy, real model servers.

Honest clients and attackers have addresses of their own on loopback (Linux). Each attack runs by itself, then all
together. Goodput is the share of honest requests that are answered with 200 within two seconds. During each attack
the release of a healthy candidate goes through its canary steps: bad requests must not end it.

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

from live_releases import BODY, MODEL, PATH, LiveReleases, now
from serving_stack import worker_of
from supervised_stack import SupervisedStack
from tiny_models import tensor_body

from perennial import limits
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, ReleaseStatus
from perennial.flows.release.reconcile import reconcile

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
GOOD = json.dumps(BODY).encode()
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


def goodput(port: int, goes_on: Callable[[], bool], seconds: float) -> float:
    """Return the share of honest requests that are answered in time; they come at a constant rate to the end."""
    answered: list[bool] = []
    clients, end = 8, time.monotonic() + seconds

    def client(number: int) -> None:
        begin = time.monotonic() + number / HONEST_RATE
        for turn in itertools.count():
            if not goes_on() or time.monotonic() > end:
                return
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


class Walk(threading.Thread):
    """Approves the release of a candidate and walks it to its end, or until `stop`."""

    def __init__(self, live_releases: LiveReleases) -> None:
        super().__init__(daemon=True)
        self._live, self._given_up = live_releases, threading.Event()
        self.release: ReleaseStatus = live_releases.start(live_releases.challengers()[0])
        live_releases.say(self.release, IntentKind.APPROVE)

    def run(self) -> None:
        while not self._given_up.is_set() and not self.release.phase.is_final():
            time.sleep(0.2)
            self.release = reconcile(self.release.release_id, self._live.ports, now())

    def stop(self) -> Phase:
        """Return the phase of the release: its end, or where it stands."""
        self._given_up.set()
        self.join()
        return self.release.phase

    def take_back(self) -> None:
        """End a release that is still on its way, so that the next one can begin."""
        if not self.release.phase.is_final():
            self._live.say(self.release, IntentKind.ABORT)
            self._live.to_end(self.release)


def memory_mib(stack: SupervisedStack) -> float:
    """Return the resident memory of Envoy and of every model server's worker."""
    servers = [name for pool in ("stable", "canary") for name in stack.servers(pool)]
    processes = [stack.pid("envoy"), *(worker_of(stack.pid(name)) for name in servers)]
    pages = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in processes)
    return pages * 4096 / 2**20


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="most time per attack")
    parser.add_argument("--rate", type=int, default=200, help="PERENNIAL_CLIENT_RATE")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="perennial-overload-") as name:
        folder = Path(name)
        stack = SupervisedStack(folder / "state", overlay=folder, client_rate=asked.rate)
        try:
            stack.start()
            live_releases = LiveReleases(stack, overlay=folder)
            live_releases.furnish()
            missed = measure(live_releases, asked.seconds)
        finally:
            stack.stop()
    print(*(f"MISSED {words}" for words in missed), sep="\n")
    return 1 if missed else 0


def measure(live_releases: LiveReleases, seconds: float) -> list[str]:
    """Print a line per attack; return the missed bars."""
    stack, missed = live_releases.stack, []
    print(
        f"{'attack':14} {'goodput':>8} {'attack/s':>9} {'MiB':>6} {'errors':>7}  release of a healthy candidate"
    )
    for attack, (kinds, threads, addresses) in ATTACKS.items():
        walk, before = Walk(live_releases), stack.router.counters(MODEL)["canary"]
        with Flood(stack.settings.port_envoy, kinds, threads, addresses) as flood:
            began = time.monotonic()
            walk.start()
            share = goodput(stack.settings.port_envoy, walk.is_alive, seconds)
            rate, memory = flood.sent / (time.monotonic() - began), memory_mib(stack)
        errors = stack.router.counters(MODEL)["canary"].since(before).errors
        phase = walk.stop()
        print(f"{attack:14} {share:8.1%} {rate:9.0f} {memory:6.0f} {errors:7}  {phase.value}", flush=True)
        bars = (
            (share < GOODPUT, f"goodput {share:.1%} under {attack}"),
            (memory > MEMORY_MIB, f"{memory:.0f} MiB under {attack}"),
            (errors > 0, f"{errors} errors of the candidate under {attack}"),
            (
                phase is not Phase.SUCCEEDED,
                f"the candidate is {phase.value} under {attack}: {walk.release.note}",
            ),
        )
        missed += [words for bad, words in bars if bad]
        walk.take_back()
    return missed


if __name__ == "__main__":
    sys.exit(main())
