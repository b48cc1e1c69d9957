"""Prepare to register, on a simulated history: what is learnt, judged, kept, and what a kill leaves."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from rate_model import RateModel
from training_world import HISTORY, SPEC, TrainingWorld

from perennial.adapters.documents.figures import TrainingFigures
from perennial.adapters.onnx_scorer import OnnxScorer
from perennial.core.evaluation.figures_hash import figures_hash
from perennial.core.governance.registry_rules import FIXED
from perennial.core.training.data import Validation
from perennial.errors import (
    DatasetMissing,
    ParityError,
    TrackerUnavailable,
    ValidationFailed,
)
from perennial.flows.training.register import register
from perennial.flows.training.workdir import write_json
from perennial.serving.signed_files import read_listed

pytestmark = pytest.mark.slow


@pytest.fixture
def training_world(tmp_path):
    return TrainingWorld(tmp_path)


def test_from_history_to_candidate(training_world):
    training_world.prepare()
    trained = training_world.train()
    run = training_world.tracker.runs[trained.run_id]
    nested = [one for one in training_world.tracker.runs.values() if one.parent == trained.run_id]
    assert len(nested) == trained.trials == 4
    assert all("slope" in one.params for one in nested)
    assert run.tags["reason"] == "person"
    assert run.tags["data.source"] == "simulator"
    assert {"capsule.json", "tuning/tuning_history.html"} <= set(run.artifacts)
    assert set(run.served) == {
        "model.onnx",
        "manifest.json",
        "background.json",
        "reference.parquet",
        "signed_files.json",
    }

    training_world.figures = TrainingFigures()
    found = training_world.evaluate()
    assert run.metrics["holdout.roc_auc"] == found.scores["model"]["roc_auc"].value > 0.5
    assert {"evaluation/roc.png", "evaluation/calibration.png"} <= set(run.artifacts)
    assert found.first_group == trained.holdout_from

    ref = register(SPEC, training_world.work, training_world.registry, "ann")
    assert (ref.version, ref.digest) == ("1.0.0", trained.digest)
    record = training_world.registry.find(SPEC.name, "candidate")
    assert record.tags["data_checks"] == "passed"
    assert record.tags["model.input"] == "features: float32 [batch, 3]"
    assert record.tags["figures_hash"] == figures_hash(record.metrics)
    assert record.tags["champion.digest"] == "none"
    assert set(record.tags) - {"lifecycle"} <= FIXED, "nobody changes later what a registration says"
    assert json.loads(training_world.work.registered.read_text())["version"] == "1.0.0"


def test_manifest_says_what_a_server_needs(training_world):
    training_world.prepare()
    trained = training_world.train()
    manifest = json.loads((training_world.work.model / "manifest.json").read_text())
    assert manifest["format"] == 2
    assert read_listed(training_world.work.model, SPEC.name)[0] == trained.digest
    assert manifest["features"] == ["failure_rate", "run_count", "last_execution_status"]
    assert manifest["task"]["threshold"] == SPEC.task.threshold


def test_reference_rows_are_later_than_what_was_learnt(training_world):
    training_world.prepare()
    trained = training_world.train()
    reference = pd.read_parquet(training_world.work.model / "reference.parquet")
    assert reference["cycle"].min() >= trained.holdout_from
    assert {"score", "failed", "failure_rate"} <= set(reference.columns)


def test_nothing_later_than_the_split_is_learnt_from(training_world):
    training_world.prepare()
    first = training_world.train()
    model = (training_world.work.model / "model.onnx").read_bytes()
    changed = HISTORY.assign(
        verdict=HISTORY["verdict"].where(HISTORY["cycle"] < first.holdout_from, 1).astype("int8")
    )
    other = TrainingWorld(training_world.folder / "other")
    other.prepare(changed)
    other.train()
    assert (other.work.model / "model.onnx").read_bytes() == model


def test_registering_again_changes_nothing(training_world):
    training_world.release()
    before = training_world.registry.versions(SPEC.name)
    register(SPEC, training_world.work, training_world.registry, "ann")
    assert training_world.registry.versions(SPEC.name) == before


def test_a_killed_search_goes_on_where_it_stopped(training_world):
    training_world.prepare()

    class Killed(RateModel):
        left = 3

        def fit(self, *given):
            Killed.left -= 1
            if Killed.left < 0:
                raise KeyboardInterrupt
            return super().fit(*given)

    with pytest.raises(KeyboardInterrupt):
        training_world.train(Killed)
    assert [one.status for one in training_world.tracker.runs.values() if one.parent is None] == ["FAILED"]
    assert not training_world.work.trained.exists()
    RateModel.fits = 0
    trained = training_world.train()
    # One trial was left, then the fit that finds the epochs and the final one.
    assert RateModel.fits == 1 + 2
    assert trained.trials == 4


def test_an_export_that_answers_otherwise_fails_and_keeps_nothing(training_world):
    training_world.prepare()

    class Wrong(OnnxScorer):
        def score(self, folder, features):
            return super().score(folder, features) + 1e-3

    with pytest.raises(ParityError, match=r"1\.00e-03"):
        training_world.train(scorer=Wrong())
    assert not training_world.work.model.exists()
    assert not training_world.work.trained.exists()
    assert {one.status for one in training_world.tracker.runs.values() if one.parent is None} == {"FAILED"}


def test_unchecked_data_is_not_trained_on(training_world):
    training_world.prepare()
    training_world.work.validation.unlink()
    with pytest.raises(DatasetMissing, match=r"validation\.json"):
        training_world.train()
    write_json(training_world.work.validation, Validation(revision="another", reports=()))
    with pytest.raises(ValidationFailed, match="another"):
        training_world.train()
    assert not training_world.tracker.runs


def test_without_tracker_nothing_is_trained(training_world):
    training_world.prepare()
    training_world.tracker.available = False
    with pytest.raises(TrackerUnavailable):
        training_world.train()
    assert not training_world.work.model.exists()


def test_a_new_training_forgets_the_evaluation_before(training_world):
    training_world.release()
    training_world.train()
    with pytest.raises(DatasetMissing, match=r"evaluation\.json"):
        register(SPEC, training_world.work, training_world.registry, "ann")


def test_retraining_learns_the_recent_past_and_is_compared_with_the_champion(training_world):
    training_world.release()
    before = json.loads(training_world.work.trained.read_text())["holdout_from"]
    trained = training_world.train()
    assert trained.holdout_from > before
    found = training_world.evaluate()
    assert "champion" in found.scores
    assert found.champion == training_world.registry.find(SPEC.name, "champion").ref.digest
    run = training_world.tracker.runs[trained.run_id]
    assert run.metrics["delta.roc_auc.low"] <= run.metrics["delta.roc_auc"]
    assert register(SPEC, training_world.work, training_world.registry, "ann").version == "1.1.0"


def test_another_architecture_is_a_major_version(training_world):
    training_world.release()

    class Other(RateModel):
        architecture = "rate/2"

    training_world.train(Other)
    training_world.evaluate()
    assert register(SPEC, training_world.work, training_world.registry, "ann").version == "2.0.0"
