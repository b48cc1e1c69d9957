"""Any version on any history file."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from training_house import HISTORY, SPEC, House

from perennial.errors import (
    DataError,
    DatasetMissing,
    UnknownVersion,
)
from perennial.flows.evaluation.score import score_history
from perennial.history.prepare import prepare as make


@pytest.fixture
def house(tmp_path):
    return House(tmp_path)


def score(house, version=None, since=None):
    return score_history(
        SPEC,
        version,
        HISTORY,
        since,
        make,
        house.features,
        house.registry,
        house.scorer,
        house.folder / "fetched",
    )


def test_any_version_is_scored_on_any_history(house):
    ref = house.release()
    holdout = json.loads(house.work.evaluation.read_text())
    found, name = score(house, "1.0.0", holdout["first_group"])
    assert str(ref) == name
    # The same rows by another way: from the file instead of the work folder.
    assert found.scores["model"]["roc_auc"].value == pytest.approx(
        holdout["scores"]["model"]["roc_auc"]["value"]
    )
    assert set(found.scores) == {"model", *SPEC.evaluation.baselines}


def test_scoring_what_is_not_there_is_refused(house):
    house.release()
    with pytest.raises(UnknownVersion, match=r"9\.9\.9"):
        score(house, "9.9.9")
    with pytest.raises(DataError, match="last one"):
        score(house, since=10_000)


def test_history_up_to_a_cycle(house):
    house.prepare(HISTORY[HISTORY["cycle"] <= 30], until=30)
    assert pd.read_parquet(house.work.examples)["cycle"].max() == 30
    with pytest.raises(DatasetMissing):
        house.prepare(HISTORY[HISTORY["cycle"] > 30], until=10)
