"""The watch: goes on when a tool is down, shows its figures, stops at once when asked."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime

import httpx
import numpy as np
import pytest
from doubles.detectors import MemoryDetectors
from doubles.releases import MemoryStore
from prometheus_client import generate_latest

from perennial import catalog
from perennial.adapters.prometheus.monitor_metrics import MonitorMetrics
from perennial.core.assets import Reason
from perennial.core.monitoring.budget.alarm_budget import AlarmBudget
from perennial.core.monitoring.drift import SCORE, ColumnDrift
from perennial.core.monitoring.estimated_accuracy import EstimatedAccuracy
from perennial.core.monitoring.feedback_counts import FeedbackCounts
from perennial.core.monitoring.levels import AccuracyEstimate, Cause, Level, MonitorVerdict
from perennial.core.monitoring.retraining import Hold, Retrain
from perennial.core.monitoring.screen import SCREENED
from perennial.core.release.traffic import Target
from perennial.errors import PortTaken, TrackerUnavailable
from perennial.flows.monitoring.budget import budget_lines
from perennial.flows.monitoring.following.schedule import REST_HELD
from perennial.flows.monitoring.monitor import MonitorResult
from perennial.flows.monitoring.watch import summary_line, watch
from perennial.settings import Settings

SPEC = catalog.spec("test_failure_predictor", Settings(spec_overlay=None))
NOW = datetime(2025, 6, 1, 12, tzinfo=UTC)
JUDGED = MonitorVerdict(
    level=Level.RETRAIN,
    causes=(Cause(reason=Reason.DRIFT, text="2 of 6 features moved"),),
    reasons=("2 of 6 features moved",),
    rows=1500,
    drifts=(
        ColumnDrift(column="pass_rate_7d", psi=0.9, allowance=0.3, p=0.001, level=0.01),
        ColumnDrift(column=SCORE, psi=0.2, allowance=0.25, p=0.5, level=0.01),
    ),
    reference=AccuracyEstimate(value=0.9, error=0.01, labels=3000),
    window=AccuracyEstimate(value=0.81, error=0.01, labels=1500),
)
SEEN = MonitorResult(
    SPEC.name, NOW, Target(version="1.0.0", digest="a" * 64, release_id="r"), JUDGED,
    Retrain(reason=Reason.DRIFT, text="2 of 6 features moved"),
)  # fmt: skip


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Watched:
    """A watch of `rounds` waits; the clock moves by what is waited."""

    def __init__(self, rounds: int) -> None:
        self.rounds, self.now, self.said = rounds, 0.0, []
        self.gauges = MonitorMetrics()

    def wait(self, seconds: float) -> bool:
        self.now += seconds
        self.rounds -= 1
        return self.rounds < 0

    def run(self, look, specs=(SPEC,), is_early=None):
        watch(specs, look, self.gauges, self.said.append, lambda: self.now, self.wait, is_early)
        return self

    def value(self, name: str, **labels: str) -> float | None:
        return self.gauges.registry.get_sample_value(name, {"model_name": SPEC.name, **labels})


def test_a_tool_that_is_down_costs_one_look():
    answers = iter([TrackerUnavailable("MLflow does not answer", hint="start it"), SEEN])

    def look(spec):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    watched = Watched(2).run(look)
    assert "MLflow does not answer" in watched.said[0]
    assert "start it" in watched.said[0]
    assert "RETRAIN" in watched.said[1]
    assert watched.value("model_monitor_failing") == 0
    assert watched.now == 2 * SPEC.monitoring.every.total_seconds()


def test_every_model_is_looked_at():
    other = SPEC.model_copy(update={"name": "another_model"})
    seen: list[str] = []

    def look(spec):
        seen.append(spec.name)
        return SEEN

    Watched(4).run(look, specs=(SPEC, other))
    assert seen == [SPEC.name, "another_model"] * 2


def test_a_project_without_models_is_watched_and_has_no_budgets():
    watched = Watched(3).run(lambda spec: SEEN, specs=(), is_early=lambda spec: True)
    assert (watched.now, watched.said) == (4 * SCREENED, [])
    nothing = AlarmBudget(alarms_a_month=1, drift_warnings_a_month=1, models=())
    assert budget_lines(nothing, MemoryDetectors(), MemoryStore().ledger, NOW) == []


def looks_of(names: str, early: str, seconds: float, rounds: int) -> list[tuple[str, float]]:
    """Return the looks at models, some of which always move, with their times; each takes so many seconds."""
    looks: list[tuple[str, float]] = []

    def look(spec):
        looks.append((spec.name, watched.now))
        watched.now += seconds
        return SEEN

    def is_early(spec):
        if spec.name == "z":
            raise TrackerUnavailable("does not answer", hint="wait")
        return spec.name in early

    watched = Watched(rounds)
    watched.run(look, [SPEC.model_copy(update={"name": name}) for name in names], is_early)
    return looks


def test_a_model_that_moved_is_looked_at_before_its_time_and_before_others_that_are_due():
    looks = looks_of("abcdefghijkz", early="a", seconds=4, rounds=13)
    assert "".join(name for name, _ in looks) == "abcdefghijakz", (
        "while two were still due for the first time"
    )


def test_models_that_always_move_starve_no_other_and_are_not_looked_at_without_end():
    every = SPEC.monitoring.every.total_seconds()
    looks = looks_of("abcd", early="abc", seconds=8, rounds=600)
    end = looks[-1][1]
    assert end > 3 * every
    quiet = [at for name, at in looks if name == "d"]
    assert quiet == pytest.approx([number * (every + 8) for number in range(len(quiet))], abs=40)
    assert len(quiet) >= end // (every + 40)
    for name in "abc":
        begins = [at for each, at in looks if each == name]
        assert min(np.diff(begins)) >= every / 30


def test_a_look_that_only_the_budget_of_warnings_held_back_is_repeated_sooner():
    every, begins = SPEC.monitoring.every.total_seconds(), []
    drifts = tuple(
        ColumnDrift(column=name, psi=0.9, allowance=0.1, p=0.001, level=0.01, certain_p=1e-4, warn_level=1e-6)
        for name in SPEC.features.names[:2]
    )
    held = replace(SEEN, verdict=JUDGED.model_copy(update={"drifts": drifts}))

    def look(spec):
        begins.append(watched.now)
        watched.now += 1
        return held

    watched = Watched(40)
    watched.run(look, is_early=lambda spec: True)
    assert max(np.diff(begins)) < every / 30
    assert min(np.diff(begins)) >= REST_HELD


def test_a_model_whose_looks_fail_is_not_looked_at_again_at_once():
    asked: list[float] = []

    def look(spec):
        asked.append(watched.now)
        raise TrackerUnavailable("MLflow does not answer", hint="start it")

    watched = Watched(100)
    watched.run(look, is_early=lambda spec: True)
    assert min(np.diff(asked)) >= SPEC.monitoring.every.total_seconds() / 30


def test_scrapes_share_a_store_and_a_broken_one_costs_no_other_figure(monkeypatch, tmp_path):
    from perennial.wiring import database, monitoring

    made: list[str] = []

    class Broken:
        ledger = None

        @property
        def releases(self):
            raise RuntimeError("the pool of connections is used up")

    monkeypatch.setattr(database, "store", lambda settings: made.append(settings.database) or Broken())
    watched = Watched(1)
    watched.gauges.watch_releases(monitoring.attended([SPEC.name], Settings(home=tmp_path)))
    assert made == []
    watched.run(lambda spec: SEEN)
    for _ in range(3):
        assert b"model_monitor_level{" in generate_latest(watched.gauges.registry)
    assert len(made) == 1


def test_figures_of_a_window_and_none_left_of_the_champion_before():
    watched = Watched(1).run(lambda spec: SEEN)
    assert watched.value("model_drift_psi", feature="pass_rate_7d") == 0.9
    assert watched.value("model_drift_psi_allowance", feature=SCORE) == 0.25
    assert watched.value("model_accuracy_drop_percent") == pytest.approx(10)
    assert watched.value("model_monitor_level") == 3
    assert watched.value("model_monitor_last_window_timestamp_seconds") == NOW.timestamp()
    unsure = MonitorVerdict(level=Level.UNSURE, reasons=("3 predictions",), rows=3)
    watched.gauges.show(SPEC.name, unsure, NOW)
    assert watched.value("model_monitor_level") == -1
    assert watched.value("model_drift_psi", feature="pass_rate_7d") is None
    assert watched.value("model_accuracy_drop_percent") is None


def test_the_accuracy_without_labels_is_shown_with_its_error():
    estimated = EstimatedAccuracy(value=0.912, error=0.018, rows=1500)
    seen = replace(SEEN, verdict=SEEN.verdict.model_copy(update={"estimated": estimated}))
    assert "estimated 91.2% +- 1.8% by its confidence" in summary_line(seen)
    watched = Watched(1).run(lambda spec: seen)
    assert watched.value("model_estimated_accuracy") == 0.912
    assert watched.value("model_estimated_accuracy_error") == 0.018


def test_the_line_says_what_was_seen_and_decided():
    text = summary_line(SEEN)
    for part in ("1.0.0", "n=1500", "pass_rate_7d 0.90 (+0.60)", "90.0% -> 81.0%", "RETRAIN (drift)"):
        assert part in text
    held = MonitorResult(
        SPEC.name, NOW, None, JUDGED.model_copy(update={"drifts": ()}), Hold(why="quiet until noon")
    )
    assert "hold: quiet until noon" in summary_line(held)


def test_prometheus_reads_them_and_a_taken_port_is_clear():
    port, gauges = free_port(), MonitorMetrics()
    gauges.show(SPEC.name, JUDGED, NOW)
    gauges.serve("127.0.0.1", port)
    text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
    assert f'model_drift_psi{{feature="pass_rate_7d",model_name="{SPEC.name}"}} 0.9' in text
    with pytest.raises(PortTaken, match=str(port)):
        MonitorMetrics().serve("127.0.0.1", port)


@pytest.mark.server
def test_the_process_serves_figures_says_what_fails_and_stops_on_sigterm(tmp_path):
    port = free_port()
    settings = {"PERENNIAL_HOME": str(tmp_path), "PERENNIAL_PORT_MONITOR": str(port), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "perennial", "monitor", "watch"],
        env={**os.environ, **settings}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert f":{port}/metrics" in process.stdout.readline()
        # Nothing is set up in this folder: the first look at each model fails, and the watch goes on.
        models = catalog.names(Settings())
        failures = [process.stdout.readline() for _ in models]
        assert sorted(line.partition(":")[0] for line in failures) == sorted(models)
        assert process.poll() is None
        secret = (tmp_path / "secrets" / "internal").read_text()
        assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 403
        answer = httpx.get(f"http://127.0.0.1:{port}/metrics", headers={"authorization": f"Bearer {secret}"})
        assert "model_monitor_failing" in answer.text
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0, "long before its next look in fifteen minutes"
    finally:
        process.kill()
        process.wait()


def test_feedback_that_was_not_used_is_exported_by_source_and_reason():
    gauges = MonitorMetrics()
    reasons = {"unknown": {"ci": 2}, "foreign": {"ci": 1}, "invalid": {"shop": 3}, "too_often": {"ann": 4}}
    for _ in range(2):
        gauges.received(FeedbackCounts(received=10, changed=0, broken=1, broken_predictions=5, **reasons))
    told = {
        (sample.labels["source"], sample.labels["reason"]): sample.value
        for family in gauges.registry.collect()
        for sample in family.samples
        if sample.name == "perennial_feedback_unusable_total"
    }
    assert told == {
        ("ci", "unknown"): 4,
        ("ci", "foreign"): 2,
        ("shop", "invalid"): 6,
        ("ann", "too often"): 8,
    }
    broken = {log: gauges.registry.get_sample_value("perennial_broken_lines_total", {"log": log})
              for log in ("feedback", "predictions")}  # fmt: skip
    assert broken == {"feedback": 2, "predictions": 10}
