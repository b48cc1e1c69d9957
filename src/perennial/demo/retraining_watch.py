"""Requests for a retraining in a demo: those of the monitor, of enough new labels, and of the demo as a person."""

from __future__ import annotations

import subprocess
import sys
import time
from datetime import UTC, datetime

from perennial.core.assets import Reason
from perennial.core.events import Event, LedgerRow
from perennial.core.monitoring.levels import Level
from perennial.core.monitoring.worth.prospects import Withheld
from perennial.core.payloads import LevelChange, RetrainRequest
from perennial.core.spec import ModelSpec
from perennial.errors import ToolError
from perennial.flows.monitoring.retrain import request_retraining
from perennial.local import handed_secrets
from perennial.ports import Ledger
from perennial.settings import Settings
from perennial.wiring import monitoring

DAY = 10.0
"""Seconds between two questions about new labels, which the DAG `monitor_<model>` asks once a day."""


class RetrainingWatch:
    """Requests for retrainings of a model, and alerts in place of them, as the ledger has them."""

    def __init__(self, spec: ModelSpec, settings: Settings, ledger: Ledger) -> None:
        self.spec = spec
        self._settings = settings
        self._ledger = ledger
        self._asked = 0.0

    def requests(self) -> list[LedgerRow]:
        return self._ledger.rows(self.spec.name, kinds=[Event.RETRAIN_REQUESTED])

    def withheld(self, digest: str) -> str | None:
        """Return why a retraining in place of this champion was not made; None where none was withheld."""
        rows = self._ledger.rows(self.spec.name, kinds=[Event.RETRAIN_WITHHELD])
        alerts = [Withheld.read(row.entry).why for row in rows if row.entry.digest == digest]
        return alerts[-1] if alerts else None

    def ask_for_labels(self) -> None:
        """Ask, as `perennial retrain labels` does, whether the new labels start a retraining."""
        if time.monotonic() < self._asked + DAY:
            return
        # A process of its own: for MLflow it is another account than the demo.
        done = subprocess.run(
            [sys.executable, "-m", "perennial", "retrain", "labels", self.spec.name],
            cwd=self._settings.project, env=handed_secrets.base_environment(self._settings),
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ToolError(f"perennial retrain labels: {done.stderr.strip()}", hint="perennial local status")
        self._asked = time.monotonic()

    def ask_as_person(self, text: str, who: str) -> None:
        request_retraining(
            self.spec.name, Reason.PERSON, text, who, self._ledger, monitoring.scheduler(self._settings),
            datetime.now(UTC),
        )  # fmt: skip

    def warning(self) -> tuple[str, ...] | None:
        """Return the reasons of the newest change of level, where it is at least a warning."""
        rows = self._ledger.rows(self.spec.name, kinds=[Event.MONITOR_LEVEL])
        changes = [LevelChange.read(row.entry) for row in rows]
        warned = [change for change in changes if change.to in (Level.WARN, Level.RETRAIN)]
        return warned[-1].reasons[:1] if warned else None


def in_words(row: LedgerRow) -> str:
    """Return a request's text with what its back-test promised."""
    request = RetrainRequest.read(row.entry)
    return f"{request.text}; its back-test: {request.likely}" if request.likely else request.text
