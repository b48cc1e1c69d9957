"""The database as the agent of a serving machine sees it: it reads what is wanted and writes its own rows only."""

from __future__ import annotations

from sqlalchemy import select

from perennial.adapters.sql.database import Database
from perennial.adapters.sql.machines.wanted import SqlWanted
from perennial.adapters.sql.schema import database_time, machine_calls, machine_counters, machines
from perennial.adapters.sql.upsert import insert
from perennial.core.machine import Answer, Call, MachineReport, Tally, Wanted


class SqlDesk:
    """Desk port of an agent.

    Args:
        machine: name of the machine.
    """

    def __init__(self, database: Database, machine: str) -> None:
        self._database = database
        self._wanted = SqlWanted(database)
        self.machine = machine

    def report(self, report: MachineReport) -> None:
        """Store a report; the lease begins anew."""
        with self._database.writing() as connection:
            values = {"seen_us": database_time(), "body": report.model_dump_json()}
            statement = insert(connection, machines).values(machine=self.machine, **values)
            connection.execute(statement.on_conflict_do_update(index_elements=["machine"], set_=values))

    def wanted_after(self, generation: int) -> tuple[int, list[Wanted]]:
        """Return the newest generation, and the things that were changed after another one."""
        newest = self._wanted.newest()
        return newest, self._wanted.after(generation) if newest > generation else []

    def calls(self) -> dict[str, Call]:
        """Return id -> call that waits for an answer."""
        mine = (machine_calls.c.machine == self.machine) & machine_calls.c.answer.is_(None)
        with self._database.reading() as connection:
            rows = connection.execute(select(machine_calls.c.id, machine_calls.c.body).where(mine)).all()
        return {row.id: Call.model_validate_json(row.body) for row in rows}

    def answer(self, number: str, answer: Answer) -> None:
        """Store the answer of a call; nobody may wait for it any more."""
        mine = (machine_calls.c.id == number) & (machine_calls.c.machine == self.machine)
        with self._database.writing() as connection:
            connection.execute(machine_calls.update().where(mine).values(answer=answer.model_dump_json()))

    def tally(self, model: str) -> Tally:
        """Return the stored counters of a model."""
        mine = (machine_counters.c.machine == self.machine) & (machine_counters.c.model == model)
        with self._database.reading() as connection:
            body = connection.execute(select(machine_counters.c.body).where(mine)).scalar()
        return Tally() if body is None else Tally.model_validate_json(body)

    def keep_tally(self, model: str, tally: Tally) -> None:
        """Store the counters of a model."""
        with self._database.writing() as connection:
            body = tally.model_dump_json()
            statement = insert(connection, machine_counters).values(
                machine=self.machine, model=model, body=body
            )
            connection.execute(
                statement.on_conflict_do_update(index_elements=["machine", "model"], set_={"body": body})
            )
