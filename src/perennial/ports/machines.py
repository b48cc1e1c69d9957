"""Ports of the agent of a serving machine, and of those who watch over the machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from perennial.core.machine import Answer, Call, Machine, MachineReport, Tally, Wanted


class Desk(Protocol):
    """The control plane as the agent of a machine sees it (SQL)."""

    machine: str
    """Name of the machine."""

    def report(self, report: MachineReport) -> None:
        """Store a report; the machine counts as live for another lease."""

    def wanted_after(self, generation: int) -> tuple[int, Sequence[Wanted]]:
        """Return the newest generation, and the things that were changed after another one, in order."""

    def calls(self) -> Mapping[str, Call]:
        """Return id -> call that waits for an answer of this machine."""

    def answer(self, number: str, answer: Answer) -> None: ...

    def tally(self, model: str) -> Tally:
        """Return the counters of a model that this machine has stored."""

    def keep_tally(self, model: str, tally: Tally) -> None: ...


class Machines(Protocol):
    """The serving machines (SQL)."""

    def all(self) -> Sequence[Machine]:
        """Return every machine that has ever reported, and neither left nor was forgotten."""
