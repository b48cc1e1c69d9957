"""Record the messages of Alertmanager, once each."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime
from threading import Lock

from perennial.core.alerting.alert_messages import KINDS, entry_of, is_repeated
from perennial.ports import Ledger

RECENT = 50
"""Entries of a model among which a message is looked for."""


class AlertRecorder:
    """Writes a ledger entry per message, from which the notifier makes a notice.

    Args:
        models: returns the names of the models with a spec.
    """

    def __init__(self, ledger: Ledger, models: Callable[[], Collection[str]]) -> None:
        self._ledger = ledger
        self._models = models
        self._one_at_a_time = Lock()

    def record(self, body: bytes, now: datetime) -> bool:
        """Record a message; return False if it was recorded just now.

        Raises:
            MalformedInput: it is no message of Alertmanager.
            ToolError: the database does not answer; Alertmanager sends the message again.
        """
        entry = entry_of(body, self._models(), now)
        with self._one_at_a_time:
            recent = self._ledger.rows(entry.model, kinds=KINDS, newest=RECENT)
            if is_repeated(entry, recent):
                return False
            self._ledger.append(entry)
        return True
