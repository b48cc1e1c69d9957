"""Replay of CI cycles as requests through Envoy, with their test results as labels."""

from __future__ import annotations

import itertools
import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import pandas as pd

from perennial.serving import headers

REPEATED = 60
"""Last cycles that are replayed again after all cycles: many, because single cycles are unusual."""


Answers = queue.SimpleQueue[tuple[str | None, int]]
"""Prediction id (None: no answer) and test result of each request of a cycle."""


@dataclass
class ReplayCounts:
    """Counts of the replay's clients; every request counts once."""

    sent: int = 0
    failed: int = 0
    labels: int = 0
    cycle: int = 0
    first_failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def answered(self, problem: str | None) -> None:
        with self.lock:
            self.sent += 1
            if problem is not None:
                self.failed += 1
                if len(self.first_failures) < 5:
                    self.first_failures.append(problem)


@dataclass(frozen=True)
class ReplayedRequest:
    """A request: will this test fail in this cycle?"""

    body: dict[str, Any]
    failed: int
    answers: Answers


class RequestReplay(threading.Thread):
    """Sends a request per test of each cycle at a steady rate, then the cycle's test results as labels.

    Args:
        url: Envoy's address.
        model: model whose predict endpoint gets the requests.
        examples: columns test_id, suite, cycle, requested_at, cycle_size, failed; cycles in order.
        rate: requests a second.
        finished: called with the cycle number after its labels are sent; updates history and features.
        key: key of the source of the labels.
        client_key: API key, where clients need one.
        verify: what Envoy's certificate is verified with.
    """

    def __init__(
        self,
        url: str,
        model: str,
        examples: pd.DataFrame,
        rate: float,
        finished: Callable[[int], None],
        key: str,
        client_key: str = "",
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        super().__init__(name="replay", daemon=True)
        self.predict = f"{url}/v1/models/{model}/predict"
        self.feedback = f"{url}/v1/feedback"
        self.examples = examples
        self.rate = rate
        self._key = {headers.FEEDBACK_KEY: key}
        self._client = {"authorization": f"Bearer {client_key}"} if client_key else {}
        self._verify = verify
        self.finished = finished
        self.counts = ReplayCounts()
        self.error: BaseException | None = None
        self.cycle_started: dict[int, datetime] = {}
        self._stop_requested = threading.Event()
        self._queue: queue.Queue[ReplayedRequest | None] = queue.Queue(maxsize=64)

    def stop(self) -> None:
        self._stop_requested.set()
        self.join(timeout=30)

    def run(self) -> None:
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(4)]
        for worker in workers:
            worker.start()
        try:
            self._replay(self.endless())
        except (httpx.HTTPError, OSError, ValueError, RuntimeError) as error:
            self.error = error
        finally:
            for _ in workers:
                self._queue.put(None)
            for worker in workers:
                worker.join(timeout=30)

    def endless(self) -> Iterable[tuple[int, pd.DataFrame, bool]]:
        """Return the cycles in order, then the last cycles again and again (flag false: already learnt)."""
        cycles = [(int(number), rows) for number, rows in self.examples.groupby("cycle", sort=True)]
        fresh = ((number, rows, True) for number, rows in cycles)
        again = ((number, rows, False) for number, rows in itertools.cycle(cycles[-REPEATED:]))
        return itertools.chain(fresh, again)

    def _replay(self, cycles: Iterable[tuple[int, pd.DataFrame, bool]]) -> None:
        due = time.monotonic()
        with httpx.Client(timeout=15.0, verify=self._verify) as client:
            for number, rows, fresh in cycles:
                self.counts.cycle = number
                self.cycle_started.setdefault(number, datetime.now(UTC))
                answers: Answers = queue.SimpleQueue()
                for row in rows.itertuples(index=False):
                    if self._stop_requested.is_set():
                        return
                    due = max(due + 1 / self.rate, time.monotonic() - 1.0)
                    time.sleep(max(0.0, due - time.monotonic()))
                    self._queue.put(ReplayedRequest(body(row), int(row.failed), answers))
                self._send_labels(client, answers, len(rows))
                if fresh:
                    self.finished(number)

    def _send_labels(self, client: httpx.Client, answers: Answers, expected: int) -> None:
        """Send the test results of the finished cycle as labels of its predictions."""
        pairs = [answers.get(timeout=60) for _ in range(expected)]
        labels = [{"prediction_id": name, "label": label} for name, label in pairs if name is not None]
        answer = client.post(self.feedback, json={"labels": labels}, headers=self._key)
        self.counts.answered(None if answer.status_code == 200 else f"feedback: {answer.status_code}")
        self.counts.labels += len(labels)

    def _work(self) -> None:
        with httpx.Client(timeout=15.0, verify=self._verify) as client:
            while (request := self._queue.get()) is not None:
                request.answers.put((self._send(client, request), request.failed))

    def _send(self, client: httpx.Client, request: ReplayedRequest) -> str | None:
        """Return the prediction's id, or None when the request failed."""
        try:
            answer = client.post(self.predict, json=request.body, headers=self._client)
        except httpx.HTTPError as error:
            self.counts.answered(repr(error))
            return None
        if answer.status_code != 200:
            self.counts.answered(f"{answer.status_code}: {answer.text[:200]}")
            return None
        self.counts.answered(None)
        return answer.json()["predictions"][0]["prediction_id"]


def body(row: Any) -> dict[str, Any]:
    """Return the request body for a test; a new test has unknown features."""
    return {
        "entities": [{"test_id": row.test_id, "suite": row.suite}],
        "context": {"cycle_size": int(row.cycle_size), "requested_at": row.requested_at.isoformat()},
        "allow_unknown": True,
    }
