"""The detector in a look: restarts, several monitors, another champion, and what the budget shows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from doubles.detectors import MemoryDetectors
from doubles.feedback import AskedWhole
from doubles.growing import watched
from doubles.releases import MemoryLedger

from perennial import catalog
from perennial.cli import main
from perennial.core.events import Entry, Event, SystemActor
from perennial.core.monitoring.budget.alarm_budget import AlarmBudget
from perennial.flows.monitoring.budget import budget_lines
from perennial.flows.monitoring.harm import batched_reference, harm_seen
from perennial.settings import Settings

SPEC = catalog.spec("test_failure_predictor", Settings(spec_overlay=None))
NUMBERS = catalog.spec("diabetes_progression", Settings(spec_overlay=None))
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64
BUDGET = 0.125


def answers(seed: int, count: int, wrong: float) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    failed = rng.random(count) < 0.3
    score = np.where(failed ^ (rng.random(count) < wrong), 0.9, 0.1)
    return pd.DataFrame({"score": score, "failed": failed.astype(int), "cycle": np.arange(count) // 40})


REFERENCE = answers(0, 3000, 0.1)


class Traffic(AskedWhole):
    """Predictions, ten a minute in requests of five, with the labels that have come."""

    def __init__(self, *parts: tuple[str, float, int]) -> None:
        frames = [answers(number + 1, count, wrong) for number, (_, wrong, count) in enumerate(parts)]
        rows = pd.concat(frames, ignore_index=True)
        self.log = pd.DataFrame(
            {
                "prediction_id": [f"p{number}" for number in range(len(rows))],
                "request_id": [f"q{number // 5}" for number in range(len(rows))],
                "at": (pd.Timestamp(BEGIN) + pd.to_timedelta(6 * np.arange(len(rows)), unit="s")).as_unit(
                    "ns"
                ),
                "digest": np.concatenate([np.repeat(digest, count) for digest, _, count in parts]),
                "shadow": False,
                "score": rows["score"],
                "decision": (rows["score"] >= 0.5).astype(int),
                "task": "",
            }
        )
        self.known = dict(zip(self.log["prediction_id"], rows["failed"].astype(float), strict=True))

    @property
    def end(self) -> datetime:
        return self.log["at"].iloc[-1].to_pydatetime() + timedelta(minutes=1)

    def read(self, model: str, since: datetime | None = None) -> pd.DataFrame:
        return self.log[self.log["at"] >= since]

    def labels(self, since: datetime | None = None) -> dict[str, dict[str, float]]:
        return {"ci": self.known}

    def seen(self, detectors: MemoryDetectors, now: datetime | None = None, digest: str = OLD):
        return harm_seen(SPEC, digest, REFERENCE, detectors, watched(self), self, now or self.end, BUDGET)


class Killed(MemoryDetectors):
    def save(self, model, state, expected):
        raise KeyboardInterrupt


def test_a_loss_is_found_once_whatever_is_killed_between_the_looks():
    traffic, detectors = Traffic((OLD, 0.1, 4000), (OLD, 0.3, 1500)), MemoryDetectors()
    for minutes in range(60, 560, 160):
        before = dict(detectors.kept)
        killed = Killed()
        killed.kept = dict(before)
        with pytest.raises(KeyboardInterrupt):
            traffic.seen(killed, BEGIN + timedelta(minutes=minutes))
        traffic.seen(detectors, BEGIN + timedelta(minutes=minutes))
    state = traffic.seen(detectors)
    assert state.labelled == 5500
    assert state.alarms == 1
    assert "since about 2026-01-01 06:" in str(state.harm)
    assert traffic.seen(detectors) == state


class Raced(MemoryDetectors):
    """Another monitor stores its state between the first `load` and the `save`."""

    def __init__(self, other: MemoryDetectors) -> None:
        super().__init__()
        self.other = other

    def save(self, model, state, expected):
        self.kept = dict(self.other.kept)
        return super().save(model, state, expected)


def test_where_another_monitor_was_first_its_state_counts():
    traffic, first = Traffic((OLD, 0.1, 2000)), MemoryDetectors()
    done = traffic.seen(first, BEGIN + timedelta(minutes=100))
    late = Raced(first)
    assert traffic.seen(late) == done
    assert late.kept == first.kept


def test_a_new_champion_is_judged_anew_and_keeps_the_alarms_that_were():
    traffic, detectors = Traffic((OLD, 0.1, 2000), (OLD, 0.4, 1000), (NEW, 0.1, 2000)), MemoryDetectors()
    assert traffic.seen(detectors, BEGIN + timedelta(minutes=301)).harm is not None
    state = traffic.seen(detectors, digest=NEW)
    assert (state.harm, state.labelled) == (None, 2000)
    assert state.alarms == 0
    assert state.alarms_since(BEGIN) == 1


def test_a_reference_of_few_groups_judges_nothing():
    few = REFERENCE.assign(cycle=np.arange(len(REFERENCE)) // 1000)
    assert batched_reference(SPEC, few) is None


def test_numbers_are_judged_by_their_errors():
    rng = np.random.default_rng(1)
    value = rng.normal(150, 40, 600)
    rows = pd.DataFrame(
        {
            "score": value + rng.normal(0, 10, 600),
            NUMBERS.target.column: value,
            NUMBERS.evaluation.group: np.arange(600) // 5,
        }
    )
    known = batched_reference(NUMBERS, rows)
    assert known is not None
    assert not known.is_share
    assert known.mean == pytest.approx(-8, abs=1)


def test_the_budget_is_divided_and_shows_what_was_spent():
    traffic, detectors = Traffic((OLD, 0.1, 2000), (OLD, 0.4, 1000)), MemoryDetectors()
    traffic.seen(detectors)
    budget = AlarmBudget(alarms_a_month=1, drift_warnings_a_month=1, models=("another", SPEC.name))
    ledger = MemoryLedger()
    for days, level in ((31, "warn"), (2, "watch"), (1, "warn")):
        at = traffic.end - timedelta(days=days)
        ledger.append(
            Entry(at=at, actor=SystemActor.MONITOR, kind=Event.MONITOR_LEVEL, model=SPEC.name, payload={"to": level})
        )  # fmt: skip
    other, line = budget_lines(budget, detectors, ledger, traffic.end)
    assert (other.share, other.days_per_alarm, other.alarms) == (0.5, 60, 0)
    assert "no labels counted yet" in str(other)
    assert (other.drift_share, other.warnings, line.warnings) == (0.5, 0, 1)
    assert line.alarms == 1
    assert line.rows_per_month == pytest.approx(432_000, rel=0.05)
    assert line.rows_per_alarm == pytest.approx(2 * line.rows_per_month)
    assert line.labelled == 1
    assert "accuracy 89" in str(line)


def test_the_command_shows_a_line_for_each_model(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path))
    monkeypatch.setenv("PERENNIAL_FALSE_ALARMS_PER_MONTH", "2")
    monkeypatch.setenv("PERENNIAL_FALSE_DRIFT_WARNINGS_PER_MONTH", "3")
    assert main(["monitor", "budget", "--json"]) == 0
    lines = json.loads(capsys.readouterr().out)
    assert [line["model"] for line in lines] == sorted(catalog.names(Settings()))
    assert sum(line["share"] for line in lines) == pytest.approx(2)
    assert main(["monitor", "budget"]) == 0
    said = capsys.readouterr().out
    assert "2 false alarms in 30 days over" in said
    assert "3 false drift warnings" in said
