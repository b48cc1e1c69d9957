"""Candidate and champion answer the newest labelled requests again, where the registered figures are about another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from doubles.releases import MemoryStore
from doubles.version_files import VersionsWithFiles, tiny_answers
from some_release import MODEL

from perennial import catalog
from perennial.adapters.onnx_scorer import OnnxScorer
from perennial.core.release_spec import FeedbackSpec
from perennial.errors import UnknownVersion
from perennial.flows.evaluation.offline_features import OfflineSource
from perennial.flows.release.afresh import AfreshPorts, evaluate_afresh
from perennial.settings import Settings

SPEC = catalog.spec(MODEL, Settings(spec_overlay=None))
SPEC = SPEC.model_copy(
    update={
        "release": SPEC.release.model_copy(update={"feedback": FeedbackSpec(sole_source="ci")}),
        "evaluation": SPEC.evaluation.model_copy(update={"bootstrap": 50}),
    }
)
TRAINED = datetime(2026, 3, 2, tzinfo=UTC)
COUNT = 800


class Plant:
    """A champion and a candidate; a third version answered the requests, half of them after both trainings."""

    def __init__(self, folder, champion: float, candidate: float) -> None:
        self.versions = VersionsWithFiles(folder)
        self.versions.add(MODEL, "1.1.0", champion, TRAINED - timedelta(days=1))
        self.versions.add(MODEL, "1.2.0", candidate, TRAINED)
        self.frame = tiny_answers("d" * 64, 0.0, TRAINED - timedelta(minutes=COUNT // 2), COUNT)
        self.store = MemoryStore()
        sums = self.frame.filter(like="feature:").sum(axis=1)
        noise = np.random.default_rng(4).random(COUNT) < 0.1
        self.label((sums >= 0) ^ noise)

    def label(self, values) -> None:
        labels = dict(zip(self.frame["prediction_id"], np.asarray(values, dtype=float), strict=True))
        self.store.feedback.put(labels, TRAINED + timedelta(days=1), "ci")

    def read(self, model, since=None):
        return self.frame[self.frame["at"] >= since].reset_index(drop=True)

    def evaluate(self):
        source = OfflineSource(features=None, history=None, make=None)  # type: ignore[arg-type]
        ports = AfreshPorts(self, self.store.feedback, self.versions, OnnxScorer(), source)
        candidate, champion = (self.versions.find(MODEL, version) for version in ("1.2.0", "1.1.0"))
        return evaluate_afresh(SPEC, candidate, champion, ports)


def test_only_requests_after_both_trainings_judge_and_the_better_one_is_told(tmp_path):
    afresh = Plant(tmp_path, champion=4.0, candidate=0.0).evaluate()
    assert (afresh.since, afresh.labels) == (TRAINED, COUNT // 2)
    assert afresh.metrics["holdout.groups"] == COUNT // 4
    assert afresh.metrics["delta.brier.low"] > 0
    assert {"delta.roc_auc", "delta.roc_auc.low", "delta.roc_auc.high", "holdout.roc_auc"} <= set(
        afresh.metrics
    )


def test_a_worse_candidate_is_told_too(tmp_path):
    assert Plant(tmp_path, champion=0.0, candidate=-4.0).evaluate().metrics["delta.brier.high"] < 0


def test_without_enough_labels_there_are_no_figures(tmp_path):
    plant = Plant(tmp_path, champion=0.0, candidate=1.0)
    plant.frame = plant.frame.head(COUNT // 2 + 20)
    few = plant.evaluate()
    assert (few.labels, few.metrics) == (20, None)
    assert "20 labelled answers since both trainings" in str(few)


def test_labels_of_one_kind_rank_nothing(tmp_path):
    plant = Plant(tmp_path, champion=0.0, candidate=1.0)
    plant.label(np.zeros(COUNT))
    same = plant.evaluate()
    assert same.metrics is None
    assert same.note


def test_a_version_that_is_gone_is_an_error(tmp_path):
    plant = Plant(tmp_path, champion=0.0, candidate=1.0)
    plant.versions.forget("1.1.0")
    with pytest.raises(UnknownVersion):
        plant.evaluate()
