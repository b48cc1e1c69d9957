"""A recalibration of a champion: proven on later labels, registered once, judged harder each time, never stacked."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from doubles.attribution import one_path
from doubles.pictures import NoPictures
from doubles.releases import MemoryStore
from signing import KEY
from training_world import SPEC as TRAINED_SPEC
from training_world import TrainingWorld

from perennial.adapters.variants.calibrated import write_calibrated
from perennial.core.events import Entry, Event
from perennial.core.monitoring.worth.reluctance import Outcome, retrainings
from perennial.core.recalibration.attempt import (
    RECALIBRATION_OF,
    RECALIBRATION_TRAINED,
    attempts,
    confidence,
    trained_digest,
    weights_of,
)
from perennial.core.recalibration.spec import RecalibrationSpec
from perennial.core.release import gate
from perennial.core.release_spec import FeedbackSpec
from perennial.core.tasks.regression import Regression
from perennial.core.training.registration import VersionRecord
from perennial.core.verdict import Verdict
from perennial.core.version import VersionRef
from perennial.errors import NotOptimisable, NotRecalibrable, NotReproducible, StoreUnavailable
from perennial.flows.evaluation.offline_features import OfflineSource
from perennial.flows.evaluation.optimise import refuse
from perennial.flows.recalibration.labelled import LabelledAnswers
from perennial.flows.recalibration.recalibrate import RecalibrationPorts, recalibrate
from perennial.flows.recalibration.version import VersionPorts, evaluate_later
from perennial.flows.training.reproduce import refuse_imported

SPEC = TRAINED_SPEC.model_copy(
    update={
        "recalibration": RecalibrationSpec(enabled=True, largest_change=0.3),
        "release": TRAINED_SPEC.release.model_copy(update={"feedback": FeedbackSpec(sole_source="ci")}),
        "explanation": None,
    }
)
NOW = datetime(2027, 3, 1, tzinfo=UTC)
COUNT = 1600


class Plant:
    """A trained champion, and requests of four rows whose labels fail three times as often as it says."""

    def __init__(self, training: TrainingWorld) -> None:
        self.training, self.registry = training, training.registry
        self.live = "1.0.0"
        self.store = MemoryStore()
        self.lines: list[str] = []
        rng = np.random.default_rng(8)
        names = SPEC.features.names
        values = np.zeros((COUNT, len(names)), dtype=np.float32)
        values[:, names.index("failure_rate")] = rng.beta(1, 4, COUNT)
        self.values = values
        files = training.work.model
        self.scores = training.scorer.score(files, values).astype(float)
        self.frame = pd.DataFrame(
            {
                "prediction_id": [f"p{place}" for place in range(COUNT)],
                "request_id": [f"q{place // 4}" for place in range(COUNT)],
                "at": pd.date_range(NOW - timedelta(days=5), periods=COUNT, freq="min").as_unit("ns"),
                "digest": "d" * 64,
                "shadow": False,
                "entity": "{}",
                "context": "{}",
                "score": self.scores,
                "decision": (self.scores >= 0.5).astype(int),
                "names": json.dumps(names),
                "task": SPEC.task.model_dump_json(),
                "answer": None,
                **{f"feature:{name}": values[:, place].astype(float) for place, name in enumerate(names)},
            }
        )
        self.label(np.minimum(1.0, 3 * self.scores + 0.2))

    def label(self, chance: np.ndarray) -> None:
        drawn = (np.random.default_rng(9).random(COUNT) < chance).astype(float)
        self.store.feedback.put(dict(zip(self.frame["prediction_id"], drawn, strict=True)), NOW, "ci")

    def read(self, model, since=None):
        return self.frame[self.frame["at"] >= since].reset_index(drop=True)

    def route(self, model):
        ref = self.registry.find(SPEC.name, self.live).ref
        return SimpleNamespace(stable=SimpleNamespace(version=ref.version, digest=ref.digest))

    def recalibrate(self, spec=SPEC, now=NOW, dry_run=False):
        version = VersionPorts(
            self.registry, self.training.tracker, self.training.scorer, KEY, NoPictures(), one_path, write_calibrated
        )  # fmt: skip
        offline = OfflineSource(features=None, history=None, make=None)  # type: ignore[arg-type]
        ports = RecalibrationPorts(self, self.store.ledger, self, self.store.feedback, offline, version)
        return recalibrate(spec, ports, "ann", now, dry_run, self.lines.append)

    def numbers(self):
        return [record.ref.version for record in self.registry.versions(SPEC.name)]

    def kinds(self):
        return [row.entry.kind for row in self.store.ledger.rows(SPEC.name)]

    def made(self, version, minute):
        """Let a version have been registered so many minutes after the first prediction, one a minute."""
        known = self.registry._versions[SPEC.name]
        place = [record.ref.version for record in known].index(version)
        created = self.frame["at"].iloc[0].to_pydatetime() + timedelta(minutes=minute)
        known[place] = known[place].model_copy(update={"created": created})

    def end(self, version, kind=Event.RELEASE_REJECTED):
        digest = self.registry.find(SPEC.name, version).ref.digest
        self.store.ledger.append(
            Entry(
                at=NOW, actor="machine", kind=kind, model=SPEC.name, release_id=f"r{version}", digest=digest
            )
        )


@pytest.fixture(scope="module")
def training(tmp_path_factory):
    world = TrainingWorld(tmp_path_factory.mktemp("recalibration"))
    world.release()
    return world


@pytest.fixture
def plant(training, monkeypatch):
    registry = training.registry
    monkeypatch.setattr(registry, "_versions", {SPEC.name: registry._versions[SPEC.name][:1]})
    monkeypatch.setattr(
        registry, "_aliases", dict.fromkeys([(SPEC.name, "champion"), (SPEC.name, "candidate")], "1")
    )
    return Plant(training)


def test_a_proven_gain_becomes_a_patch_version_that_the_gate_can_judge(plant, tmp_path):
    result = plant.recalibrate()
    assert (result.proven, result.version, result.champion, result.of) == (True, "1.0.1", "1.0.0", "1.0.0")
    assert result.gain.low > 0
    assert 0 < result.largest_seen <= 0.3 + 1e-9
    assert plant.kinds() == [Event.RECALIBRATED]
    record, parent = (plant.registry.find(SPEC.name, version) for version in ("candidate", "1.0.0"))
    assert record.ref.version == "1.0.1"
    assert record.tags[RECALIBRATION_OF] == record.tags[RECALIBRATION_TRAINED] == parent.ref.digest
    assert record.tags["requested_by"] == "ann"
    report = gate.judge(SPEC.gate, record, parent, [1.0])
    judged = {rule.rule: rule.verdict for rule in report.rules}
    assert {
        name: judged[name] for name in ("figures", "parity", "data_checks", "improvement")
    } == dict.fromkeys(("figures", "parity", "data_checks", "improvement"), Verdict.PASS), report
    assert "new architecture" not in report.risk_reasons
    files = plant.registry.fetch(record.ref, tmp_path / "new")
    served = plant.training.scorer.score(files, plant.values)
    assert served == pytest.approx(result.calibration.apply(plant.scores), abs=1e-5)
    old = plant.registry.fetch(parent.ref, tmp_path / "old")
    before, after = (pd.read_parquet(folder / "reference.parquet") for folder in (old, files))
    assert before.drop(columns=["score", "decision"]).equals(after.drop(columns=["score", "decision"]))
    assert after["score"].to_numpy() == pytest.approx(result.calibration.apply(before["score"]), abs=1e-5)


def test_a_dry_run_stores_nothing_and_counts_nothing(plant):
    result = plant.recalibrate(dry_run=True)
    assert (result.proven, result.version) == (True, None)
    assert (plant.numbers(), plant.kinds()) == (["1.0.0"], [])


def test_what_is_not_proven_ends_is_counted_and_needs_a_clearer_gain_next_time(plant):
    plant.label(plant.scores)
    first = plant.recalibrate()
    assert (first.proven, first.version, first.attempt) == (False, None, 1)
    assert plant.numbers() == ["1.0.0"]
    assert plant.kinds() == [Event.RECALIBRATION_ENDED]
    second = plant.recalibrate()
    assert second.attempt == 2
    assert second.gain.high - second.gain.low > first.gain.high - first.gain.low


def test_the_same_call_again_returns_the_version_and_finishes_what_a_kill_left_out(plant, monkeypatch):
    append = plant.store.ledger.append

    def killed(entry):
        raise StoreUnavailable("killed", hint="")

    monkeypatch.setattr(plant.store.ledger, "append", killed)
    with pytest.raises(StoreUnavailable):
        plant.recalibrate()
    monkeypatch.setattr(plant.store.ledger, "append", append)
    again = plant.recalibrate(now=NOW + timedelta(hours=1))
    assert (again.version, plant.numbers()) == ("1.0.1", ["1.0.0", "1.0.1"])
    assert plant.recalibrate().version == "1.0.1"
    assert plant.kinds() == [Event.RECALIBRATED]


def test_after_a_rejected_release_another_may_be_made_and_the_first_counts(plant):
    plant.recalibrate()
    plant.end("1.0.1")
    again = plant.recalibrate(now=NOW + timedelta(hours=1))
    assert (again.version, again.attempt) == ("1.0.2", 2)


def test_after_an_emergency_rollback_what_was_taken_back_is_not_offered_again_and_counts(plant):
    plant.recalibrate()
    plant.end("1.0.1", Event.RELEASE_SUCCEEDED)
    plant.end("1.0.0", Event.EMERGENCY_ROLLBACK)  # the entry has the digest of the version that came back
    again = plant.recalibrate(now=NOW + timedelta(hours=1))
    assert (again.champion, again.version, again.attempt) == ("1.0.0", "1.0.2", 2)


def test_labels_from_before_the_training_ended_neither_fit_nor_judge(plant):
    plant.made("1.0.0", 800)
    result = plant.recalibrate(dry_run=True)
    assert (result.learnt, result.judged) == (560, 240)
    plant.made("1.0.0", 1300)
    with pytest.raises(NotRecalibrable, match=r"300 mature .* since 2027-02-24 .* may have learnt earlier"):
        plant.recalibrate()


def test_labels_that_fitted_a_recalibrated_champion_do_not_judge_another(plant):
    plant.recalibrate()
    plant.live = "1.0.1"
    plant.made("1.0.1", 1399)  # a request ends here
    result = plant.recalibrate(dry_run=True)
    assert (result.learnt, result.judged) == (1400, 200)
    plant.made("1.0.1", 1500)
    with pytest.raises(NotRecalibrable, match=r"100 mature .* champion 1\.0\.1 .* 150 are needed"):
        plant.recalibrate()
    plant.made("1.0.1", 100)
    assert plant.recalibrate(dry_run=True).judged == 480


def test_labels_of_answers_under_another_task_are_left_out(plant):
    other = SPEC.task.model_copy(update={"threshold": 0.9}).model_dump_json()
    plant.frame.loc[:399, "task"] = other
    result = plant.recalibrate(dry_run=True)
    assert result.learnt + result.judged == 1200
    plant.frame.loc[:1199, "task"] = other
    with pytest.raises(
        NotRecalibrable, match=r"400 mature labelled answers .* under the task of the weights"
    ):
        plant.recalibrate()


def test_each_is_evaluated_with_the_interval_of_its_own():
    task = Regression(unit="mg", interval=0.8, half_width=1.0)
    wider = task.model_copy(update={"half_width": 3.0})
    values = np.linspace(0.0, 10.0, 100)
    known = LabelledAnswers(
        features=np.zeros((100, 1), dtype=np.float32), label=values + 2.0, group=np.arange(100),
        request=np.arange(100).astype(str), trained=values, champion=values, champion_task=task, slices={},
        unseen=np.ones(100, dtype=bool),
    )  # fmt: skip
    gate_of_numbers = SPEC.gate.model_copy(
        update={"improvement": SPEC.gate.improvement.model_copy(update={"metric": "mae"})}
    )
    spec = SPEC.model_copy(update={"task": task.as_specified(), "gate": gate_of_numbers})
    ref = VersionRef(model=SPEC.name, version="1.0.0", key="1", digest="c" * 64, capsule="c")
    champion = VersionRecord(ref=ref, run_id="r", created=NOW)
    figures = evaluate_later(spec, "d" * 64, wider, champion, known, values).flat()
    assert (figures["holdout.interval_width"], figures["champion.interval_width"]) == (6.0, 2.0)
    assert (figures["holdout.coverage"], figures["champion.coverage"]) == (1.0, 0.0)


def test_a_recalibration_of_a_recalibration_maps_the_trained_answers(plant):
    plant.recalibrate()
    plant.live = "1.0.1"
    plant.label(plant.scores)  # back to what was before
    back = plant.recalibrate(now=NOW + timedelta(hours=1))
    assert (back.champion, back.of, back.version, back.attempt) == ("1.0.1", "1.0.0", "1.0.2", 1)
    assert np.abs(back.calibration.apply(plant.scores) - plant.scores).max() <= 0.3 + 1e-9
    digest = plant.registry.find(SPEC.name, "1.0.0").ref.digest
    rows = plant.store.ledger.rows(SPEC.name)
    assert weights_of(rows, back.digest) == digest
    assert trained_digest(plant.registry.find(SPEC.name, "1.0.2")) == digest


def test_it_is_refused_where_it_is_off_or_labels_are_few_or_not_mature(plant):
    with pytest.raises(NotRecalibrable, match="off in its spec"):
        plant.recalibrate(spec=TRAINED_SPEC)
    plant.frame = plant.frame.head(499)
    with pytest.raises(NotRecalibrable, match="499 mature labelled answers"):
        plant.recalibrate()
    delayed = SPEC.model_copy(
        update={"monitoring": SPEC.monitoring.model_copy(update={"label_delay": timedelta(days=6)})}
    )
    with pytest.raises(NotRecalibrable, match="0 mature"):
        plant.recalibrate(spec=delayed)
    assert (plant.numbers(), plant.kinds()) == (["1.0.0"], [])


def test_nothing_trains_it_and_no_variant_is_made_of_it(plant):
    plant.recalibrate()
    record = plant.registry.find(SPEC.name, "1.0.1")
    with pytest.raises(NotReproducible, match="recalibration"):
        refuse_imported(record)
    with pytest.raises(NotOptimisable, match="recalibration"):
        refuse(record)


def test_its_release_tells_nothing_about_a_retraining(plant):
    asked = Entry(at=NOW, actor="ann", kind=Event.RETRAIN_REQUESTED, model=SPEC.name,
                  payload={"reason": "person", "reason_text": "x", "text": "x"})  # fmt: skip
    plant.store.ledger.append(asked)
    plant.recalibrate()
    plant.end("1.0.1", Event.RELEASE_OPENED)
    plant.end("1.0.1")
    (retraining,) = retrainings(plant.store.ledger.rows(SPEC.name))
    assert (retraining.outcome, retraining.release_id) == (Outcome.OPEN, None)
    champion = plant.registry.find(SPEC.name, "1.0.0").ref.digest
    assert attempts(plant.store.ledger.rows(SPEC.name), champion) == 1


def test_all_attempts_together_err_with_five_percent():
    assert sum(1 - confidence(attempt) for attempt in range(1, 100_000)) == pytest.approx(0.05, abs=1e-5)
