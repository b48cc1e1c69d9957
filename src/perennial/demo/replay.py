"""Replay of batches of requests through Envoy, with their labels sent after each batch."""

from __future__ import annotations

import queue
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from perennial.serving import headers

Answers = queue.SimpleQueue[tuple[str | None, int]]
"""Prediction id (None: no answer) and label of each request of a batch."""


@dataclass(frozen=True)
class Batch:
    """Requests whose labels are known together, a moment after the last one."""

    number: int
    requests: Iterable[tuple[dict[str, Any], int]]
    """Body and label of each request; read once, one at a time, when its turn comes."""
    fresh: bool = True
    """False: its rows are known already."""


@dataclass
class ReplayCounts:
    """Counts of the replay's clients; every request counts once."""

    sent: int = 0
    failed: int = 0
    labels: int = 0
    batch: int = 0
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
    """A request that waits for a worker."""

    body: dict[str, Any]
    label: int
    answers: Answers


class RequestReplay(threading.Thread):
    """Sends the requests of each batch at a steady rate, then its labels.

    Args:
        url: Envoy's address.
        model: model whose predict endpoint gets the requests.
        batches: in order; read one at a time, so that they may be made meanwhile.
        rate: requests a second; may be changed meanwhile.
        finished: called with the number of a fresh batch after its labels are sent; must not take long.
        key: key of the source of the labels.
        client_key: API key, where clients need one.
        verify: what Envoy's certificate is verified with.
    """

    def __init__(
        self,
        url: str,
        model: str,
        batches: Iterable[Batch],
        rate: float,
        finished: Callable[[int], None],
        key: str,
        client_key: str = "",
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        super().__init__(name="replay", daemon=True)
        self.predict = f"{url}/v1/models/{model}/predict"
        self.feedback = f"{url}/v1/feedback"
        self.batches = batches
        self.rate = rate
        self._key = {headers.FEEDBACK_KEY: key}
        self._client = {"authorization": f"Bearer {client_key}"} if client_key else {}
        self._verify = verify
        self.finished = finished
        self.counts = ReplayCounts()
        self.error: BaseException | None = None
        self.batch_started: dict[int, datetime] = {}
        self._stop_requested = threading.Event()
        self._queue: queue.Queue[ReplayedRequest | None] = queue.Queue(maxsize=64)

    @property
    def has_ended(self) -> bool:
        """Return whether all batches were sent, with their labels, and no error has ended it."""
        return not self.is_alive() and self.error is None

    def stop(self) -> None:
        self._stop_requested.set()
        self.join(timeout=30)

    def run(self) -> None:
        workers = [threading.Thread(target=self._work, daemon=True) for _ in range(4)]
        for worker in workers:
            worker.start()
        try:
            self._replay()
        except Exception as error:  # noqa: BLE001 the demo raises it
            self.error = error
        finally:
            for _ in workers:
                self._queue.put(None)
            for worker in workers:
                worker.join(timeout=30)

    def _replay(self) -> None:
        due = time.monotonic()
        with httpx.Client(timeout=15.0, verify=self._verify) as client:
            for batch in self.batches:
                self.batch_started.setdefault(batch.number, datetime.now(UTC))
                self.counts.batch = batch.number
                answers: Answers = queue.SimpleQueue()
                asked = 0
                for body, label in batch.requests:
                    if self._stop_requested.is_set():
                        return
                    due = max(due + 1 / self.rate, time.monotonic() - 1.0)
                    time.sleep(max(0.0, due - time.monotonic()))
                    self._queue.put(ReplayedRequest(body, label, answers))
                    asked += 1
                if asked:
                    self._send_labels(client, answers, asked)
                if batch.fresh:
                    self.finished(batch.number)

    def _send_labels(self, client: httpx.Client, answers: Answers, expected: int) -> None:
        """Send the labels of the predictions of the finished batch."""
        pairs = [answers.get(timeout=60) for _ in range(expected)]
        labels = [{"prediction_id": name, "label": label} for name, label in pairs if name is not None]
        answer = client.post(self.feedback, json={"labels": labels}, headers=self._key)
        self.counts.answered(None if answer.status_code == 200 else f"feedback: {answer.status_code}")
        self.counts.labels += len(labels)

    def _work(self) -> None:
        with httpx.Client(timeout=15.0, verify=self._verify) as client:
            while (request := self._queue.get()) is not None:
                request.answers.put((self._send(client, request), request.label))

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
