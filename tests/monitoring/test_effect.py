"""What a release has brought: the champion before it answers the same labelled requests again."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from doubles.releases import MemoryStore
from doubles.version_files import VersionsWithFiles, tiny_answers
from some_release import MODEL, a_release

from perennial import catalog
from perennial.adapters.onnx_scorer import OnnxScorer
from perennial.cli import main
from perennial.core.events import Entry, Event
from perennial.core.monitoring.worth.effect import (
    EffectFact,
    EffectVerdict,
    Measure,
    judge_effect,
    paired_difference,
    period,
)
from perennial.core.monitoring.worth.reluctance import Outcome, retrainings
from perennial.core.release.phase import Phase
from perennial.core.release_spec import FeedbackSpec
from perennial.errors import UnknownModel, UnknownRelease, UnknownVersion
from perennial.flows.evaluation.offline_features import OfflineSource
from perennial.flows.monitoring.effect import EffectPorts, is_due, measure_effect, record_effect, recorded
from perennial.settings import Settings

SPEC = catalog.spec(MODEL, Settings(spec_overlay=None))
SPEC = SPEC.model_copy(
    update={"release": SPEC.release.model_copy(update={"feedback": FeedbackSpec(sole_source="ci")})}
)
BEGIN = datetime(2026, 3, 2, tzinfo=UTC)
WEEK = SPEC.retraining.effect.duration
AFTER = BEGIN + WEEK
NAMES = ("f0", "f1", "f2", "f3")
COUNT = 600


def entry(kind: Event, at: datetime, release_id: str) -> Entry:
    return Entry(at=at, actor="machine", kind=kind, model=MODEL, release_id=release_id)


class Plant:
    """Version 1.1.0 took over from 1.0.0 at `BEGIN`; its answers come every minute, two rows a request."""

    def __init__(self, folder, old: float = -4.0, new: float = 0.0) -> None:
        self.folder, self.fetched = folder, 0
        self.versions = VersionsWithFiles(folder / "versions")
        self.old = self.versions.add(MODEL, "1.0.0", old)
        self.new = self.versions.add(MODEL, "1.1.0", new)
        self.bias = new
        self.store = MemoryStore()
        self.store.ledger.append(entry(Event.RELEASE_SUCCEEDED, BEGIN, "r2"))
        status = a_release(BEGIN, Phase.SUCCEEDED, release_id="r2", candidate=self.new, champion=self.old)
        self.store.releases.save(status, None, [])
        self.frame = self.answers()
        self.label(self.truth())

    def answers(self) -> pd.DataFrame:
        return tiny_answers(self.new.digest, self.bias, BEGIN, COUNT)

    def truth(self) -> np.ndarray:
        """Labels that a version without bias gets right."""
        return (self.frame[[f"feature:{name}" for name in NAMES]].sum(axis=1) >= 0).astype(float).to_numpy()

    def label(self, values: np.ndarray, at: datetime = BEGIN + timedelta(hours=1)) -> None:
        self.store.feedback.put(dict(zip(self.frame["prediction_id"], values, strict=True)), at, "ci")

    def read(self, model, since=None):
        return self.frame[self.frame["at"] >= since]

    def ports(self) -> EffectPorts:
        def nothing(*_):
            raise AssertionError("the log has every feature")

        source = OfflineSource(features=None, history=nothing, make=nothing)  # type: ignore[arg-type]
        return EffectPorts(
            self.store.releases, self.store.ledger, self, self.store.feedback, self.versions, self.versions,
            OnnxScorer(), source,
        )  # fmt: skip

    def measure(self, now: datetime = AFTER, release_id: str | None = None):
        self.fetched += 1
        return measure_effect(SPEC, release_id, self.ports(), self.folder / f"fetched-{self.fetched}", now)


def test_a_better_version_helped_and_its_gain_is_that_of_the_same_requests(tmp_path):
    plant = Plant(tmp_path)
    effect = plant.measure()
    sums = plant.frame[[f"feature:{name}" for name in NAMES]].sum(axis=1)
    wrong_before = float(((sums >= 0) & (sums < 4)).mean())
    assert effect.verdict is EffectVerdict.HELPED
    assert (effect.version, effect.against, effect.requests, effect.labels) == (
        "1.1.0",
        "1.0.0",
        COUNT // 2,
        COUNT,
    )
    assert effect.measured.measure is Measure.ACCURACY
    assert effect.measured.new == 1.0
    assert effect.measured.difference == pytest.approx(wrong_before)
    assert effect.measured.low < wrong_before < effect.measured.high
    assert effect.complete


def test_a_worse_version_harmed(tmp_path):
    plant = Plant(tmp_path, old=0.0, new=-4.0)
    effect = plant.measure()
    assert effect.verdict is EffectVerdict.HARMED
    assert effect.measured.high < 0


def test_a_version_that_answers_alike_gains_nothing(tmp_path):
    effect = Plant(tmp_path, old=0.001).measure()
    assert effect.verdict is EffectVerdict.NO_GAIN
    assert effect.measured.low <= 0 <= effect.measured.high


def test_few_labels_prove_nothing(tmp_path):
    plant = Plant(tmp_path)
    plant.store = MemoryStore()
    status = a_release(BEGIN, Phase.SUCCEEDED, release_id="r2", candidate=plant.new, champion=plant.old)
    plant.store.releases.save(status, None, [])
    assert plant.measure().verdict is EffectVerdict.TOO_FEW
    plant.frame = plant.frame.head(30)
    plant.label(plant.truth())
    few = plant.measure()
    assert (few.verdict, few.labels, few.measured) == (EffectVerdict.TOO_FEW, 30, None)


def test_only_answers_of_the_new_champion_to_clients_in_its_period_count(tmp_path):
    plant = Plant(tmp_path)
    plant.frame.loc[:99, "digest"] = plant.old.digest
    plant.frame.loc[100:199, "shadow"] = True
    plant.store.ledger.append(entry(Event.EMERGENCY_ROLLBACK, BEGIN + timedelta(minutes=500), "r2"))
    effect = plant.measure(BEGIN + timedelta(minutes=501))
    assert (effect.labels, effect.complete) == (300, True)


def test_it_is_recorded_once_and_only_when_the_period_is_over(tmp_path):
    plant = Plant(tmp_path)
    ports = plant.ports()
    early = plant.measure(AFTER - timedelta(seconds=1))
    assert not early.complete
    assert not is_due(SPEC, None, ports, AFTER - timedelta(seconds=1))
    assert not record_effect(early, ports, "monitor", AFTER)
    assert plant.versions.tags == {}
    assert is_due(SPEC, None, ports, AFTER)
    assert record_effect(plant.measure(), ports, "monitor", AFTER)
    assert not record_effect(plant.measure(), ports, "monitor", AFTER + WEEK)
    (row,) = plant.store.ledger.rows(MODEL, kinds=[Event.RETRAIN_EFFECT])
    fact = EffectFact.read(row.entry)
    assert (row.entry.release_id, row.entry.digest) == ("r2", plant.new.digest)
    assert (fact.verdict, fact.against) == (EffectVerdict.HELPED, "1.0.0")
    tags = plant.versions.tags[plant.new.key]
    assert tags["release.effect"] == "helped"
    assert float(tags["release.effect.low"]) == pytest.approx(fact.measured.low, abs=1e-6)
    assert not is_due(SPEC, None, ports, AFTER)


def test_killed_between_tags_and_ledger_the_next_call_records_it(tmp_path, monkeypatch):
    plant = Plant(tmp_path)
    ports, effect = plant.ports(), plant.measure()
    with monkeypatch.context() as killed:
        killed.setattr(plant.store.ledger, "append", lambda entry: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            record_effect(effect, ports, "monitor", AFTER)
    assert not recorded(MODEL, "r2", plant.store.ledger)
    assert record_effect(effect, ports, "monitor", AFTER)


def test_a_request_its_release_and_its_effect_are_one_story_in_the_ledger(tmp_path):
    plant, ledger = Plant(tmp_path), MemoryStore()
    asked = {"reason": "drift", "text": "2 of 6 features moved"}
    for kind, release, payload in [
        (Event.RETRAIN_REQUESTED, None, asked),
        (Event.RELEASE_OPENED, "r2", {"version": "1.1.0"}),
        (Event.RELEASE_SUCCEEDED, "r2", {}),
    ]:
        ledger.ledger.append(
            Entry(at=BEGIN, actor="monitor", kind=kind, model=MODEL, release_id=release, payload=payload)
        )
    ledger.releases.save(
        a_release(BEGIN, Phase.SUCCEEDED, release_id="r2", candidate=plant.new, champion=plant.old), None, []
    )
    ledger.feedback = plant.store.feedback
    plant.store = ledger
    (before,) = retrainings(ledger.ledger.rows(MODEL))
    assert before.outcome is Outcome.OPEN
    record_effect(plant.measure(), plant.ports(), "monitor", AFTER)
    (after,) = retrainings(ledger.ledger.rows(MODEL))
    assert (after.outcome, after.release_id, after.why) == (Outcome.HELPED, "r2", "effect: helped")


def test_labels_are_waited_for_as_long_as_they_may_take(tmp_path):
    plant = Plant(tmp_path)
    late = SPEC.monitoring.model_copy(update={"label_delay": timedelta(days=2)})
    spec = SPEC.model_copy(update={"monitoring": late})
    assert not measure_effect(spec, None, plant.ports(), tmp_path / "a", AFTER + timedelta(days=1)).complete
    assert measure_effect(spec, None, plant.ports(), tmp_path / "b", AFTER + timedelta(days=2)).complete


def test_a_release_that_replaced_no_champion_has_no_effect(tmp_path):
    plant = Plant(tmp_path)
    with pytest.raises(UnknownRelease, match="no release r9"):
        plant.measure(release_id="r9")
    assert not is_due(SPEC, "r9", plant.ports(), AFTER)
    assert plant.measure(release_id="r2").release_id == "r2"


def test_a_deleted_version_before_it_is_an_error_with_its_name(tmp_path):
    plant = Plant(tmp_path)
    plant.versions.forget("1.0.0")
    with pytest.raises(UnknownVersion, match=r"1\.0\.0"):
        plant.measure()


def test_the_period_ends_with_the_next_champion():
    rows = MemoryStore().ledger
    for kind, hours, release in [
        (Event.RELEASE_SUCCEEDED, 0, "r1"),
        (Event.RELEASE_SUCCEEDED, 5, "r2"),
        (Event.RELEASE_SUCCEEDED, 9, "r3"),
    ]:
        rows.append(entry(kind, BEGIN + timedelta(hours=hours), release))
    days = timedelta(days=7)

    def hours(release):
        return [(at - BEGIN) / timedelta(hours=1) for at in period(release, BEGIN, days, rows.rows())]

    assert hours("r1") == [0, 5]
    assert hours("r2") == [5, 9]
    assert hours("r3") == [9, 9 + 7 * 24]


def test_losses_are_better_when_lower():
    rng = np.random.default_rng(0)
    old, request = rng.random(400) + 1.0, np.arange(400).astype(str)
    measured = paired_difference(Measure.LOSS, old, old - 0.2, request)
    assert measured.difference == pytest.approx(0.2)
    assert judge_effect(measured, 400, 200) is EffectVerdict.HELPED


def test_a_few_changed_requests_prove_nothing_however_one_sided():
    old, request = np.zeros(400), np.arange(400).astype(str)
    new = old.copy()
    new[::50] = 1.0
    measured = paired_difference(Measure.ACCURACY, old, new, request)
    assert (measured.changes, measured.low > 0) == (8, True)
    assert judge_effect(measured, 400, 200) is EffectVerdict.NO_GAIN


def test_the_interval_holds_a_difference_of_correlated_rows_as_often_as_it_says():
    """Requests of 10 rows that are right or wrong together: rows alone would give an interval 3 times too narrow."""
    rng, inside, runs = np.random.default_rng(13), 0, 2000
    request = np.repeat(np.arange(80), 10).astype(str)
    for _ in range(runs):
        old, new = (np.repeat(rng.random(80) < 0.7, 10).astype(float) for _ in range(2))
        measured = paired_difference(Measure.ACCURACY, old, new, request)
        inside += measured.low <= 0 <= measured.high
    assert inside / runs > 0.93


def test_command(tmp_path, monkeypatch, capsys):
    plant = Plant(tmp_path)
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(catalog, "spec", lambda name, settings: SPEC)
    monkeypatch.setattr("perennial.wiring.monitoring.effect_ports", lambda spec, settings: plant.ports())
    assert main(["retrain", "effect", MODEL]) == 0
    told = capsys.readouterr().out
    assert "1.1.0 in place of 1.0.0" in told
    assert "verdict" in told
    assert "helped" in told
    assert "recorded in the ledger" in told
    assert main(["retrain", "effect", MODEL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"] == "helped"
    assert main(["retrain", "effect", MODEL, "--due"]) == 0
    assert "no effect of a release is due" in capsys.readouterr().out
    assert main(["retrain", "effect", MODEL, "--release", "r9"]) == UnknownRelease.exit_code


@pytest.mark.parametrize("line", [[], ["--reason", "new rig"]])
def test_a_retraining_is_requested_without_the_word_request(line, capsys):
    assert main(["retrain", "no_such_model", *line]) == (UnknownModel.exit_code if line else 2)
    assert main(["retrain", "request", "no_such_model", *line]) == (UnknownModel.exit_code if line else 2)
    assert main(["retrain", *line, "no_such_model"]) == (UnknownModel.exit_code if line else 2)
    assert main(["retrain", "--help"]) == 0
    assert "effect" in capsys.readouterr().out
