"""Calls to the live machines, whose answers are joined by the adapters beside this file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from perennial.adapters.sql.machines.machines import UNREADABLE, SqlMachines
from perennial.core.machine import VALUES, Answer, Call
from perennial.errors import PerennialError, ToolError

HINT = "start `perennial agent run` on the serving machines; see `perennial machines list`"


def ask_all(
    machines: SqlMachines, call: Call, silent: type[ToolError], names: Sequence[str] | None = None
) -> tuple[dict[str, Any], dict[str, PerennialError]]:
    """Return machine -> value, and machine -> error, of the live machines.

    Args:
        names: machines to ask; None: all that are live.

    Raises:
        silent: no machine is live, or none answers.
    """
    answers = machines.ask(call, names)
    if not answers:
        raise silent("no serving machine reports", hint=HINT)
    values, errors = {}, {}
    for name, answer in answers.items():
        try:
            values[name] = _value(call, name, answer)
        except PerennialError as error:
            errors[name] = error
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
        try:
            return _value(call, name, answer)
        except PerennialError as error:
            problem = error
    raise problem


def _value(call: Call, name: str, answer: Answer) -> Any:
    """Return the value of an answer, or raise its error; what cannot be read is one."""
    if answer.refusal is not None:
        raise answer.refusal.raised(name)
    try:
        return VALUES[call.name].validate_json(answer.value)
    except ValidationError as error:
        raise ToolError(f"{name}: its answer {UNREADABLE}", hint=HINT) from error
