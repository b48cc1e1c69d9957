"""Feedback that waits for its prediction: the log of a serving machine may arrive after a label at another one."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta

from perennial.core.frozen import Frozen
from perennial.limits import CLOCK_SKEW
from perennial.serving.evidence.answered import moment_of

LONGEST = timedelta(days=1)
"""A prediction is waited for as long as a serving machine keeps what it has sent."""
MOST = 10_000
"""Predictions that are waited for; those beyond are unknown at once, so that nobody fills the memory with wrong ids."""
AGAIN = timedelta(seconds=30)
"""Time between two looks for them: those of earlier hours are in sealed files."""


class WaitingLine(Frozen):
    """Line of a server's file with predictions that are waited for; the line itself stays where it is."""

    file: str
    start: int
    length: int
    ids: tuple[str, ...]


class WaitingLines:
    """Lines that wait, while feedback is stored.

    Args:
        known: lines that wait already.
        longest: age of a prediction up to which it is waited for.
    """

    def __init__(self, known: Iterable[WaitingLine], longest: timedelta) -> None:
        self.lines = list(known)
        self._longest = longest

    def take(self) -> list[WaitingLine]:
        """Return the lines, which wait no longer unless they are added again."""
        taken, self.lines = self.lines, []
        return taken

    def add(self, line: WaitingLine, ids: Collection[str], now: datetime) -> set[str]:
        """Let a line wait for these predictions, as far as they may still come; returns those."""
        room = MOST - sum(len(known.ids) for known in self.lines)
        waits = sorted(name for name in ids if self._may_come(name, now))[: max(0, room)]
        if waits:
            self.lines.append(line.model_copy(update={"ids": tuple(waits)}))
        return set(waits)

    def _may_come(self, name: str, now: datetime) -> bool:
        at = moment_of(name)
        return at is not None and now - self._longest < at <= now + CLOCK_SKEW
