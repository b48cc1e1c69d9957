"""The serving machines as the control plane sees them: leases, reports, calls and stored counters."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from uuid import uuid4

from pydantic import ValidationError
from sqlalchemy import ColumnElement, Connection, select

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.schema import database_time, machine_calls, machine_counters, machines
from perennial.core.machine import Answer, Call, Machine, MachineReport, Refusal, Tally
from perennial.core.release.traffic import Counters
from perennial.errors import ToolError

POLL_SECONDS = 0.02
CALL_SECONDS = 60.0
LEFT_OVER_US = 600 * 1_000_000
"""Age of calls that nobody waits for any more: who asked was killed."""
UNREADABLE = "cannot be read; are both halves of one version?"
LOG = logging.getLogger(__name__)


class SqlMachines:
    """Rows of the machines.

    Args:
        lease: seconds after its last report that a machine counts as live, by the clock of the database.
    """

    def __init__(self, database: Database, lease: float) -> None:
        self._database = database
        self._lease = lease

    def all(self) -> list[Machine]:
        """Return every machine that has ever reported, and neither left nor was forgotten, by name.

        A machine whose report cannot be read, or is of the future, is not live: no change waits for it.
        """
        query = select(machines, database_time().label("now_us")).order_by(machines.c.machine)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        known = []
        for row in rows:
            silent = (row.now_us - row.seen_us) / 1e6
            is_live = abs(silent) <= self._lease
            try:
                report = MachineReport.model_validate_json(row.body)
            except ValidationError:
                is_live, report = False, MachineReport(problems=(f"its report {UNREADABLE}",))
            if report.left:
                continue
            known.append(Machine(name=row.machine, silent_s=silent, is_live=is_live, report=report))
        return known

    def live(self) -> list[Machine]:
        """Return the machines whose lease has not ended."""
        return [machine for machine in self.all() if machine.is_live]

    def forget(self, name: str) -> bool:
        """Remove a machine; its counters stay in the sums. Returns whether there was one."""
        with self._database.writing() as connection:
            return connection.execute(machines.delete().where(machines.c.machine == name)).rowcount > 0

    def ask(self, call: Call, names: Sequence[str] | None = None) -> dict[str, Answer]:
        """Return the answers of the live machines; a machine whose lease ends meanwhile, or that takes minutes, is
        missing.

        Args:
            names: machines to ask; None: all that are live.
        """
        asked = {machine.name for machine in self.live()} if names is None else set(names)
        ids = {uuid4().hex: name for name in sorted(asked)}
        if not ids:
            return {}
        body = call.model_dump_json(exclude_defaults=True)
        with self._database.writing() as connection:
            _delete(connection, machine_calls.c.asked_us < database_time() - LEFT_OVER_US)
            for number, name in ids.items():
                row = {"id": number, "machine": name, "asked_us": database_time(), "body": body}
                connection.execute(machine_calls.insert().values(**row))
        try:
            return self._answers(ids)
        finally:
            with self._database.writing() as connection:
                _delete(connection, machine_calls.c.id.in_(ids))

    def _answers(self, ids: Mapping[str, str]) -> dict[str, Answer]:
        query = select(machine_calls.c.id, machine_calls.c.answer).where(
            machine_calls.c.id.in_(ids), machine_calls.c.answer.is_not(None)
        )
        end, look = time.monotonic() + CALL_SECONDS, 0.0
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(query).all()
            waiting = set(ids.values()) - {ids[row.id] for row in rows}
            if waiting and (now := time.monotonic()) >= look:
                waiting &= {machine.name for machine in self.live()}
                look = now + 1.0
            if not waiting or time.monotonic() > end:
                return {ids[row.id]: _answer(row.answer) for row in rows}
            time.sleep(POLL_SECONDS)

    def counted(self, model: str) -> dict[str, dict[str, Counters]]:
        """Return machine -> pool -> counters as each machine has stored them last.

        Those that cannot be read are left out: they must not stop the releases of all. A sum then falls, for which a
        release compares machine by machine.
        """
        query = select(machine_counters.c.machine, machine_counters.c.body)
        with self._database.reading() as connection:
            rows = connection.execute(query.where(machine_counters.c.model == model)).all()
        counted = {}
        for row in rows:
            try:
                counted[row.machine] = Tally.model_validate_json(row.body).total
            except ValidationError:
                LOG.warning("the stored counters of %s for %s: %s", row.machine, model, UNREADABLE)
        return counted


def _delete(connection: Connection, which: ColumnElement[bool]) -> None:
    """Delete calls but those that a machine has locked: it may have died in its transaction, which PostgreSQL notices
    only hours later. They go when they are old."""
    free = select(machine_calls.c.id).where(which).with_for_update(skip_locked=True)
    connection.execute(machine_calls.delete().where(machine_calls.c.id.in_(free)))


def _answer(body: str) -> Answer:
    try:
        return Answer.model_validate_json(body)
    except ValidationError:
        return Answer(refusal=Refusal(error=ToolError.__name__, message=f"its answer {UNREADABLE}"))
