"""Calls to the live machines, whose answers are joined by the adapters beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from perennial.adapters.sql.machines.machines import SqlMachines
from perennial.core.machine import VALUES, Call
from perennial.errors import PerennialError, ToolError

HINT = "start `perennial agent run` on the serving machines; see `perennial machines list`"


def ask_all(
    machines: SqlMachines, call: Call, silent: type[ToolError]
) -> tuple[dict[str, Any], dict[str, PerennialError]]:
    """Return machine -> value, and machine -> error, of the live machines.

    Raises:
        silent: no machine is live, or none answers.
    """
    answers = machines.ask(call)
    if not answers:
        raise silent("no serving machine reports", hint=HINT)
    values, errors = {}, {}
    for name, answer in answers.items():
        if answer.refusal is None:
            values[name] = VALUES[call.name].validate_json(answer.value)
        else:
            errors[name] = answer.refusal.raised(name)
    return values, errors


def some_of(machines: SqlMachines, call: Call, silent: type[ToolError]) -> dict[str, Any]:
    """Return machine -> value of the machines without an error.

    Raises:
        PerennialError: that of the first machine, where none has a value.
    """
    values, errors = ask_all(machines, call, silent)
    if not values:
        raise next(iter(errors.values()))
    return values


def first_of(machines: SqlMachines, call: Call, names: Sequence[str], silent: type[ToolError]) -> Any:
    """Return the value of the first machine that has one, asked one after the other.

    Raises:
        PerennialError: that of the last machine, where none has a value.
    """
    problem: PerennialError = silent("no serving machine reports", hint=HINT)
    for name in names:
        answer = machines.ask(call, [name]).get(name)
        if answer is None:
            continue
        if answer.refusal is None:
            return VALUES[call.name].validate_json(answer.value)
        problem = answer.refusal.raised(name)
    raise problem
