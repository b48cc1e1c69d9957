"""A light load generator: keep-alive connections in threads, every answer counted."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass, field


@dataclass
class Load:
    """Sends the same request over and over while its block runs.

    Attributes:
        statuses: how many answers of each status; a broken connection counts as status 0.
        versions: how many answers of each model version.
        last_at: `time.monotonic()` of the last answer of each model version.
        latencies: seconds of each answer, in no order.
        failed_at: `time.monotonic()` of each answer that was none.
        cut: how many of the failed had begun to flow when they broke off.
    """

    port: int
    path: str
    body: dict
    threads: int = 4
    pause_s: float = 0.002
    statuses: Counter = field(default_factory=Counter)
    versions: Counter = field(default_factory=Counter)
    last_at: dict[str, float] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    failed_at: list[float] = field(default_factory=list)
    cut: int = 0
    _stop: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _running: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> Load:
        self._running = [threading.Thread(target=self._work, daemon=True) for _ in range(self.threads)]
        for thread in self._running:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        for thread in self._running:
            thread.join(timeout=40)
        assert not any(thread.is_alive() for thread in self._running), "a request never ended"

    @property
    def sent(self) -> int:
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        return self.sent - self.statuses[200]

    @property
    def lost_to_a_kill(self) -> int:
        """Failed, but for one answer at most whose first bytes had left its server when that was killed: what a
        client has begun to get nobody can ask for again."""
        return self.failed - min(self.cut, 1)

    def wait_for(self, more: int, seconds: float = 60) -> None:
        """Until so many more answers have come."""
        goal, end = self.sent + more, time.monotonic() + seconds
        while self.sent < goal:
            assert time.monotonic() < end, f"{self.sent} answers only"
            time.sleep(0.02)

    def _work(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        payload = json.dumps(self.body)
        while not self._stop.is_set():
            started = time.perf_counter()
            try:
                connection.request("POST", self.path, payload, {"content-type": "application/json"})
                answer = connection.getresponse()
                status, text = answer.status, answer.read()
            except (OSError, http.client.HTTPException) as error:
                connection.close()
                with self._lock:
                    self.cut += isinstance(error, http.client.IncompleteRead)
                status, text = 0, repr(error).encode()
            self._count(status, text, time.perf_counter() - started)
            time.sleep(self.pause_s)
        connection.close()

    def _count(self, status: int, text: bytes, seconds: float) -> None:
        body = json.loads(text) if status == 200 else {}
        with self._lock:
            self.statuses[status] += 1
            self.latencies.append(seconds)
            if status == 200:
                version = body.get("model_version") or body.get("version")
                self.versions[version] += 1
                self.last_at[version] = time.monotonic()
                return
            self.failed_at.append(time.monotonic())
            if len(self.failures) < 10:
                self.failures.append(f"{status}: {text[:300].decode(errors='replace')}")
