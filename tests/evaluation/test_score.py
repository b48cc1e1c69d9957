"""Any version on any history file."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from training_world import HISTORY, SPEC, TrainingWorld

from perennial.errors import (
    DataError,
    DatasetMissing,
    UnknownVersion,
)
from perennial.flows.evaluation.score import score_history
from perennial.history.prepare import prepare as make

pytestmark = pytest.mark.slow


@pytest.fixture
def training_world(tmp_path):
    return TrainingWorld(tmp_path)


def score(training_world, version=None, since=None):
    return score_history(
        SPEC,
        version,
        HISTORY,
        since,
        make,
        training_world.features,
        training_world.registry,
        training_world.scorer,
        training_world.folder / "fetched",
    )


def test_any_version_is_scored_on_any_history(training_world):
    ref = training_world.release()
    holdout = json.loads(training_world.work.evaluation.read_text())
    found, name = score(training_world, "1.0.0", holdout["first_group"])
    assert str(ref) == name
    # The same rows by another way: from the file instead of the work folder.
    assert found.scores["model"]["roc_auc"].value == pytest.approx(
        holdout["scores"]["model"]["roc_auc"]["value"]
    )
    assert set(found.scores) == {"model", *SPEC.evaluation.baselines}


def test_scoring_what_is_not_there_is_refused(training_world):
    training_world.release()
    with pytest.raises(UnknownVersion, match=r"9\.9\.9"):
        score(training_world, "9.9.9")
    with pytest.raises(DataError, match="the last is"):
        score(training_world, since=10_000)


def test_history_up_to_a_cycle(training_world):
    training_world.prepare(HISTORY[HISTORY["cycle"] <= 30], until=30)
    assert pd.read_parquet(training_world.work.examples)["cycle"].max() == 30
    with pytest.raises(DatasetMissing):
        training_world.prepare(HISTORY[HISTORY["cycle"] > 30], until=10)
