"""Play a demo: free its ports, start the processes, run its loop, write picture and report."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from perennial.core.monitoring.worth.effect import Effect
from perennial.demo import accuracy, picture, report
from perennial.demo.closed_loop import ClosedLoop
from perennial.demo.plan import DemoPlan
from perennial.demo.report import DemoResult
from perennial.errors import PerennialError
from perennial.flows.monitoring.back_test import back_test_champion
from perennial.flows.monitoring.effect import measure_effect
from perennial.local import supervisor, supervisord
from perennial.settings import Settings
from perennial.wiring import monitoring, releasing

Say = Callable[[str], None]


def clear(settings: Settings, say: Say) -> None:
    """Stop an earlier run of the same demo, and check that every port is free."""
    if supervisord.running(settings):
        say("stopping an earlier demo")
        supervisor.down(settings, say)
    supervisor.check_ports(settings)


def play(
    settings: Settings, rate: float, say: Say, plan: Callable[[], DemoPlan], by_person: bool = False
) -> DemoResult:
    """Start the processes, run the loop and report; stops the processes on an error.

    Args:
        rate: requests per second of the replay.
        say: called with each line of text.
        plan: called when the processes run.
        by_person: whether the release after the retraining waits for a person's approval.
    """
    try:
        supervisor.up(settings, say)
        loop = ClosedLoop(settings, plan(), rate, say, by_person)
        result = loop.run()
        finish(loop, result)
    except (PerennialError, KeyboardInterrupt):
        say("stopping all processes")
        supervisor.down(settings, say)
        raise
    return result


def _effect(loop: ClosedLoop) -> Effect:
    """Measure what the retraining has brought so far; its period goes on, so nothing is recorded."""
    ports = monitoring.effect_ports(loop.spec, loop.settings)
    with TemporaryDirectory() as folder:
        return measure_effect(loop.spec, None, ports, Path(folder) / "version", datetime.now(UTC))


def _next_gain(loop: ClosedLoop) -> str:
    """Return what a back-test promises of a further retraining."""
    sources = monitoring.back_test_ports(loop.settings)
    return back_test_champion(loop.spec, sources, datetime.now(UTC)).in_words


def finish(loop: ClosedLoop, result: DemoResult) -> None:
    """Write the picture and the JSON file, and print the report."""
    settings, plan = loop.settings, loop.plan
    folder, threshold = settings.reports / "demo", loop.spec.task.threshold
    labels = pd.Series(dict(loop.store.feedback.labels().get(plan.label_source, {})), dtype=float)
    log = releasing.prediction_log(settings).read(plan.model)
    known = accuracy.labelled(log, labels, threshold)
    result.accuracy.update(accuracy.by_stage(known, result.shift_began, result.first, result.champion))
    next_gain = _next_gain(loop) if result.further is None else ""
    result = replace(result, effect=_effect(loop), next_gain=next_gain)
    first = log["at"].min().floor("us").to_pydatetime()
    title = f"{plan.model}: {result.source}, {result.counts.sent} requests, {result.counts.failed} failed"
    picture.draw(folder / "loop.png", log, known, loop.events.events, first, title, plan.window)
    report.write(folder / "report.json", result)
    report.show(result, loop.events, folder / "loop.png", settings, loop.password, plan.model)
