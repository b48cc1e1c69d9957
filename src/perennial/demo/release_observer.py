"""Observer of the running loop: polls the release, the live route and Envoy's counters twice a second."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime

from perennial.core.release.status import ReleaseStatus
from perennial.core.release.traffic import Counters
from perennial.demo.events import EventLog
from perennial.errors import PerennialError
from perennial.ports import ReleaseStore, Router


@dataclass
class StepTraffic:
    """Envoy's counters at the begin and end of a step of a release."""

    release: str
    version: str
    label: str
    weight: float
    since: datetime
    first: dict[str, Counters]
    last: dict[str, Counters] = field(default_factory=dict)
    until: datetime | None = None

    def requests(self, pool: str) -> int:
        if pool not in self.last:
            return 0
        return self.last[pool].since(self.first.get(pool, Counters())).requests

    @property
    def share(self) -> float | None:
        """Return percent of the requests that the canary pool got; None without requests."""
        total = self.requests("stable") + self.requests("canary")
        return 100.0 * self.requests("canary") / total if total else None


class ReleaseObserver:
    """Follows the releases of a model in a thread and reports every change of phase."""

    def __init__(self, model: str, releases: ReleaseStore, router: Router, events: EventLog) -> None:
        self._model = model
        self._releases = releases
        self._router = router
        self._events = events
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, name="release-observer", daemon=True)
        self.steps: list[StepTraffic] = []
        self.problems: list[str] = []

    def __enter__(self) -> ReleaseObserver:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closed.set()
        self._thread.join(timeout=30)

    def status(self) -> ReleaseStatus | None:
        """Return the newest release of the model, or None before the first."""
        releases = self._releases.latest(self._model)
        return releases[0] if releases else None

    def _work(self) -> None:
        while not self._closed.wait(0.5):
            try:
                self._look()
            except PerennialError as error:
                self.problems.append(f"{type(error).__name__}: {error.message}")

    def _look(self) -> None:
        status = self.status()
        if status is None:
            return
        counted = dict(self._router.counters(self._model))
        now = datetime.now(UTC)
        label = self._label(status)
        current = self.steps[-1] if self.steps else None
        if current is None or (current.release, current.label) != (status.release_id, label):
            if current is not None:
                current.until = now
            weight = self._weight()
            self.steps.append(
                StepTraffic(status.release_id, status.candidate.version, label, weight, now, counted, counted)
            )
            why = f": {status.note}" if status.note else ""
            mark = "" if label in ("PENDING", "GATED", "LOADING", "PROMOTING") else self._mark(status, label)
            self._events.note(f"release of {status.candidate.version}: {label}{why}", mark, now)
        elif self._weight() == current.weight:
            # The weight is read after the counters: all counted requests had this step's weight.
            current.last = counted

    def _weight(self) -> float:
        route = self._router.route(self._model)
        return route.canary_weight if route is not None else 0.0

    @staticmethod
    def _label(status: ReleaseStatus) -> str:
        if status.phase.value == "CANARY":
            return f"CANARY {status.current.weight:g} %"
        return status.phase.value

    @staticmethod
    def _mark(status: ReleaseStatus, label: str) -> str:
        short = label.lower().replace("canary ", "").replace("awaiting_approval", "approval")
        return f"{status.candidate.version} {short}".replace("succeeded", "champion")
