"""CI cycles replayed as requests through Envoy, with their verdicts coming back as labels."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import httpx
import pandas as pd

REPEATED = 60
"""Cycles at the end that are asked again when all are used up: many, for single ones are odd."""


@dataclass
class ReplayCounts:
    """What the clients of the replay saw; every request counts once."""

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
    """One request: will this test fail in this cycle?"""

    body: dict
    failed: int
    answers: queue.SimpleQueue


class RequestReplay(threading.Thread):
    """Sends one request per test of each cycle at a steady rate, then the cycle's verdicts.

    Args:
        url: Envoy's address.
        model: whose predict endpoint is asked.
        examples: columns test_id, suite, cycle, requested_at, cycle_size, failed; cycles in order.
        rate: requests a second.
        finished: called with the cycle number when its verdicts are known; feeds history and features.
    """

    def __init__(
        self, url: str, model: str, examples: pd.DataFrame, rate: float, finished: Callable[[int], None]
    ) -> None:
        super().__init__(name="replay", daemon=True)
        self.predict = f"{url}/v1/models/{model}/predict"
        self.feedback = f"{url}/v1/feedback"
        self.examples = examples
        self.rate = rate
        self.finished = finished
        self.tally = ReplayCounts()
        self.error: BaseException | None = None
        self.cycle_started: dict[int, datetime] = {}
        self._stop_asked = threading.Event()
        self._asks: queue.Queue[ReplayedRequest | None] = queue.Queue(maxsize=64)

    def stop(self) -> None:
        self._stop_asked.set()
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
                self._asks.put(None)
            for worker in workers:
                worker.join(timeout=30)

    def endless(self) -> Iterable[tuple[int, pd.DataFrame, bool]]:
        """Cycles in order; used up, the last ones come again (asked, no longer learnt from)."""
        cycles = [(int(number), rows) for number, rows in self.examples.groupby("cycle", sort=True)]
        fresh = ((number, rows, True) for number, rows in cycles)
        again = ((number, rows, False) for number, rows in itertools.cycle(cycles[-REPEATED:]))
        return itertools.chain(fresh, again)

    def _replay(self, cycles: Iterable[tuple[int, pd.DataFrame, bool]]) -> None:
        due = time.monotonic()
        with httpx.Client(timeout=15.0) as client:
            for number, rows, fresh in cycles:
                self.tally.cycle = number
                self.cycle_started.setdefault(number, datetime.now(UTC))
                answers: queue.SimpleQueue = queue.SimpleQueue()
                for row in rows.itertuples(index=False):
                    if self._stop_asked.is_set():
                        return
                    due = max(due + 1 / self.rate, time.monotonic() - 1.0)
                    time.sleep(max(0.0, due - time.monotonic()))
                    self._asks.put(ReplayedRequest(body(row), int(row.failed), answers))
                self._verdicts(client, answers, len(rows))
                if fresh:
                    self.finished(number)

    def _verdicts(self, client: httpx.Client, answers: queue.SimpleQueue, expected: int) -> None:
        """The CI cycle is over: its verdicts become labels of the predictions."""
        found = [answers.get(timeout=60) for _ in range(expected)]
        labels = [{"prediction_id": name, "label": label} for name, label in found if name is not None]
        answer = client.post(self.feedback, json={"labels": labels})
        self.tally.answered(None if answer.status_code == 200 else f"feedback: {answer.status_code}")
        self.tally.labels += len(labels)

    def _work(self) -> None:
        with httpx.Client(timeout=15.0) as client:
            while (ask := self._asks.get()) is not None:
                ask.answers.put((self._ask(client, ask), ask.failed))

    def _ask(self, client: httpx.Client, ask: ReplayedRequest) -> str | None:
        """The prediction's id, or None when the client got no answer, which is a failed request."""
        try:
            answer = client.post(self.predict, json=ask.body)
        except httpx.HTTPError as error:
            self.tally.answered(repr(error))
            return None
        if answer.status_code != 200:
            self.tally.answered(f"{answer.status_code}: {answer.text[:200]}")
            return None
        self.tally.answered(None)
        return answer.json()["predictions"][0]["prediction_id"]


def body(row) -> dict:
    """The request for one test; a test that nobody has seen yet is asked with unknown features."""
    return {
        "entities": [{"test_id": row.test_id, "suite": row.suite}],
        "context": {"cycle_size": int(row.cycle_size), "requested_at": row.requested_at.isoformat()},
        "allow_unknown": True,
    }
