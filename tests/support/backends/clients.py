"""Clients that ask all the time and keep what they got, and the table of what they saw of each kill."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from load_generator import Load

ANSWERS = 10
"""Answers that each client gets before a kill counts as over."""
LIMIT = 300.0


@dataclass
class Client(Load):
    """A client under a name.

    Attributes:
        ids: predictions that it was given.
    """

    name: str = ""
    ids: list[str] = field(default_factory=list)

    @property
    def refused(self) -> Counter[str]:
        """Return how many requests of each status but 200; 0 is a connection without an answer."""
        return Counter({str(status): count for status, count in self.statuses.items() if status != 200})

    def wait_answers(self, more: int) -> None:
        """Wait until so many more requests have been answered."""
        goal, end = self.statuses[200] + more, time.monotonic() + LIMIT
        while self.statuses[200] < goal:
            assert time.monotonic() < end, f"{self.name}: {dict(self.statuses)}, {self.failures}"
            time.sleep(0.05)

    def _count(self, status: int, text: bytes, seconds: float) -> None:
        super()._count(status, text, seconds)
        if status == 200:
            with self._lock:
                answer = json.loads(text)
                self.ids += [row["prediction_id"] for row in answer.get("predictions", ())]
                given = answer.get("parameters", {}).get("prediction_ids", "")
                self.ids += filter(None, given.split(","))


@dataclass
class Kills:
    """What was killed and when, and what the clients saw from then until all had answers again."""

    clients: tuple[Client, ...]
    rows: list[tuple[str, str, dict[str, Counter[str]]]] = field(default_factory=list)

    @contextmanager
    def of(self, what: str, when: str) -> Iterator[None]:
        """Count failures from the kill in this block until, after the return, all clients have answers again."""
        before = {client.name: client.refused for client in self.clients}
        yield
        for client in self.clients:
            client.wait_answers(ANSWERS)
        self.rows.append((what, when, {one.name: one.refused - before[one.name] for one in self.clients}))

    def failed(self, what: str, client: str) -> Counter[str]:
        """Return the failed requests of a client over all kills of a server, by status."""
        return sum((seen[client] for killed, _, seen in self.rows if killed == what), Counter())

    def table(self) -> str:
        """Return the table of docs/guide/production.md, with this run's counts."""
        names = [client.name for client in self.clients]
        lines = [
            f"| killed | when | {' | '.join(f'failed: {name}' for name in names)} | lost |",
            "| --- " * (len(names) + 3) + "|",
        ]
        for what, when, seen in self.rows:
            counts = [
                ", ".join(f"{count} ({status})" for status, count in seen[name].items()) or "0"
                for name in names
            ]
            lines.append(f"| {what} | {when} | {' | '.join(counts)} | nothing |")
        return "\n".join(lines)
