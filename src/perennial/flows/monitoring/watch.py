"""Look at every model again and again; a tool that is down costs a look, never the watch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Protocol

from perennial.core.monitoring.levels import MonitorVerdict
from perennial.core.monitoring.retraining import Retrain
from perennial.core.spec import ModelSpec
from perennial.errors import PerennialError
from perennial.flows.monitoring.monitor import MonitorResult


class MonitorGauges(Protocol):
    """Where the newest figures are shown."""

    def show(self, model: str, verdict: MonitorVerdict, at: datetime) -> None: ...

    def failed(self, model: str) -> None: ...


def watch(
    specs: Sequence[ModelSpec],
    look: Callable[[ModelSpec], MonitorResult],
    gauges: MonitorGauges,
    say: Callable[[str], None],
    clock: Callable[[], float],
    wait: Callable[[float], bool],
) -> None:
    """Until `wait` says to stop. Each model is looked at every `monitoring.every`.

    Args:
        clock: seconds, monotonic.
        wait: seconds -> True to stop.
    """
    due = dict.fromkeys(range(len(specs)), clock())
    while True:
        number = min(due, key=lambda one: due[one])
        if wait(max(0.0, due[number] - clock())):
            return
        spec = specs[number]
        try:
            seen = look(spec)
        except PerennialError as error:
            gauges.failed(spec.name)
            say(
                f"{spec.name}: {type(error).__name__}: {error.message}"
                + (f" -> {error.hint}" * bool(error.hint))
            )
        else:
            gauges.show(spec.name, seen.verdict, seen.at)
            say(summary_line(seen))
        # From now, not from when it was due: a slow look must not be followed by a burst.
        due[number] = clock() + spec.monitoring.every.total_seconds()


def summary_line(look: MonitorResult) -> str:
    """One look in one line: time, rows, the three columns that moved most, accuracy, level, decision."""
    told = look.verdict
    version = look.target.version if look.target else "-"
    top = sorted(told.drifts, key=lambda one: -one.excess)[:3]
    parts = [f"{look.at:%Y-%m-%d %H:%M:%S} {look.model} {version} n={told.rows}"]
    parts += [f"{one.column} {one.psi:.2f} (+{one.excess:.2f})" for one in top]
    if told.reference is not None and told.window is not None:
        parts.append(f"accuracy {told.reference.value:.1%} -> {told.window.value:.1%}")
    if isinstance(look.decision, Retrain):
        decided = f"RETRAIN ({look.decision.reason.value}): {look.decision.text}"
    else:
        decided = f"hold: {look.decision.why}"
    return " | ".join([*parts, told.level.value, decided, *look.problems])
