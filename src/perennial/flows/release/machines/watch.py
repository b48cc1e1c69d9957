"""Watch over the serving machines: take in what they logged, hand them small files, and record who is lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from perennial.core.events import Entry, Event, SystemActor
from perennial.core.machine import Machine
from perennial.errors import PerennialError
from perennial.ports import Ledger
from perennial.ports.machines import Machines


@dataclass(frozen=True)
class MachineWatchPorts:
    """Tools of the watch."""

    machines: Machines
    ledger: Ledger
    receive: Callable[[], int]
    """Takes in what the machines have sent of their logs; returns bytes."""
    hand_files: Callable[[], None]
    """Stores the small files that every machine must have."""


def look(ports: MachineWatchPorts, now: datetime) -> list[str]:
    """Make a pass; return lines for the log. A tool that is down costs its part of the pass."""
    lines: list[str] = []
    parts: tuple[Callable[[], object], ...] = (
        lambda: lines.extend(_record(ports, now)),
        ports.receive,
        ports.hand_files,
    )
    for part in parts:
        try:
            part()
        except PerennialError as error:
            lines.append(f"{type(error).__name__}: {error.message}")
    return lines


def _record(ports: MachineWatchPorts, now: datetime) -> list[str]:
    """Append an entry for each machine whose lease has ended, or that is back, since the last entry about it."""
    lost: dict[str, bool] = {}
    for row in ports.ledger.rows("", kinds=(Event.MACHINE_LOST, Event.MACHINE_BACK)):
        lost[row.entry.payload["machine"]] = row.entry.kind == Event.MACHINE_LOST
    lines = []
    for machine in ports.machines.all():
        if machine.is_live is not lost.get(machine.name, False):
            continue
        kind = Event.MACHINE_BACK if machine.is_live else Event.MACHINE_LOST
        ports.ledger.append(_entry(kind, machine, now))
        lines.append(f"ALARM {kind}: {machine.name} {_words(machine)}")
    return lines


def _entry(kind: Event, machine: Machine, now: datetime) -> Entry:
    return Entry(
        at=now, actor=SystemActor.FAILOVER_WATCH, kind=kind, model="",
        payload={"machine": machine.name, "silent_s": round(machine.silent_s, 1)},
    )  # fmt: skip


def _words(machine: Machine) -> str:
    if machine.is_live:
        return "reports again"
    problems = "".join(f"; {problem}" for problem in machine.report.problems)
    return f"has been silent for {machine.silent_s:.0f} s; nothing waits for it any more{problems}"
