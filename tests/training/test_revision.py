"""No step goes on with tables that are not those of the revision it names."""

from __future__ import annotations

import pandas as pd
import pytest
from training_world import HISTORY, SPEC, TrainingWorld

from perennial.errors import DatasetMissing, ToolError, ValidationFailed
from perennial.flows.training.prepare import prepare
from perennial.flows.training.register import register
from perennial.flows.training.revision import read_revision, read_trained
from perennial.flows.training.training_data import load_training_data
from perennial.history.prepare import prepare as make

LONGER = HISTORY
SHORTER = HISTORY[HISTORY["cycle"] <= 50]


class NoPush:
    """A data store whose remote cannot be reached."""

    def commit(self, files, message):
        raise ToolError("DVC failed: no such remote")


@pytest.fixture
def world(tmp_path):
    return TrainingWorld(tmp_path)


def test_a_failed_push_leaves_no_revision_and_no_step_goes_on(world):
    world.prepare(SHORTER)
    trained = world.train()
    with pytest.raises(ToolError):
        prepare(SPEC, LONGER, "simulator", make, NoPush(), world.work)
    for step in (
        lambda: read_revision(SPEC, world.work),
        lambda: load_training_data(SPEC, world.work, world.features, retrain=False),
        world.evaluate,
        lambda: register(SPEC, world.work, world.registry, "ann"),
    ):
        with pytest.raises(DatasetMissing, match=r"revision\.json"):
            step()
    world.prepare(SHORTER)
    assert read_trained(SPEC, world.work) == trained, "the same bytes are the same revision"


def test_each_step_names_the_changed_table(world):
    world.prepare(SHORTER)
    world.train()
    work = world.work
    pd.read_parquet(work.examples).iloc[:-1].to_parquet(work.examples, index=False)
    for step in (
        lambda: load_training_data(SPEC, work, world.features, retrain=False),
        world.evaluate,
        lambda: read_trained(SPEC, work),
    ):
        with pytest.raises(ValidationFailed, match=f"{SPEC.name}/examples.parquet"):
            step()


def test_added_and_missing_tables_are_named(world):
    world.prepare(SHORTER)
    (world.work.views / "more.parquet").write_bytes(b"PAR1")
    world.work.history.unlink()
    with pytest.raises(ValidationFailed, match=r"history\.parquet, .*views/more\.parquet"):
        read_revision(SPEC, world.work)


def test_a_model_of_an_earlier_revision_is_not_evaluated_on_a_later_one(world):
    world.prepare(SHORTER)
    world.train()
    world.prepare(LONGER)
    for step in (world.evaluate, lambda: register(SPEC, world.work, world.registry, "ann")):
        with pytest.raises(ValidationFailed, match="trained on the data revision"):
            step()


def test_other_rows_than_those_of_the_training_are_not_evaluated(world):
    world.prepare(SHORTER)
    world.train()
    rows = pd.read_parquet(world.work.features)
    rows.iloc[:-1].to_parquet(world.work.features, index=False)
    with pytest.raises(ValidationFailed, match="not the table of the last training"):
        world.evaluate()
