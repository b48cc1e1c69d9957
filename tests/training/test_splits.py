"""A split keeps time and groups apart; what a model could not know when it is asked stops a training."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from doubles.releases import MemoryStore
from training_world import PROVENANCE

from perennial.adapters.onnx_scorer import OnnxScorer
from perennial.adapters.torch_elastic.group import together
from perennial.core.training.reproduction import ReproductionOutcome
from perennial.errors import DataError, SpecError, ValidationFailed
from perennial.flows.training.point_in_time import as_examples
from perennial.flows.training.reproduce import ReproducePorts, reproduce
from perennial.flows.training.tables import encoded
from perennial.flows.training.training_data import split_rows
from perennial.flows.training.workdir import read_table
from perennial.wiring import training

RANDOM = np.random.default_rng(11)


def visits(rows: int = 400) -> pd.DataFrame:
    size = RANDOM.normal(size=rows)
    return pd.DataFrame(
        {
            "client_id": [f"c{number % 40}" for number in range(rows)],
            "at": pd.date_range("2024-01-01", periods=rows, freq="D", tz="UTC"),
            "size": size,
            "booked": pd.date_range("2023-12-01", periods=rows, freq="D", tz="UTC"),
            "came": np.where(size + RANDOM.normal(size=rows) > 0, "yes", "no"),
        }
    )


def split_of(world):
    rows = read_table(world.work.examples, "prepare")
    spec = world.spec
    inputs = encoded(spec.features, rows)
    rows = rows.drop(columns=inputs.columns).join(inputs)
    return split_rows(spec, as_examples(spec, rows), retrain=False)


def test_groups_stay_apart(table_world):
    world = table_world("visits", visits().drop(columns=["at", "booked"]))
    assert world.init("came", "--group", "client_id") == 0
    assert world.spec.data.source.split == "group"
    world.prepare()
    rows = read_table(world.work.examples, "prepare")
    split = split_of(world)
    later = rows["bucket"] >= split.holdout_from
    assert 0 < later.sum() < len(rows)
    assert not set(rows["client_id"][later]) & set(rows["client_id"][~later])
    validated = rows["bucket"].between(split.validation_from, split.holdout_from - 1)
    assert not set(rows["client_id"][validated]) & set(
        rows["client_id"][rows["bucket"] < split.validation_from]
    )


def test_rolling_origins_judge_later_rows_by_models_of_earlier_ones(table_world):
    world = table_world("visits", visits().drop(columns="booked"))
    assert world.init("came") == 0

    def roll(content):
        content["data"]["source"] |= {
            "split": "rolling",
            "rolling": {"origins": 3, "window": 100},
            "period": "P1D",
        }

    world.change(roll)
    world.prepare()
    split = split_of(world)
    assert len(split.folds) == 3
    for learn, judged in split.folds:
        assert learn.group.max() < judged.group.min()
        assert learn.group.min() >= judged.group.min() - 100
    blocks = np.concatenate([judged.group for _, judged in split.folds])
    assert blocks.tolist() == split.validation.group.tolist()
    assert blocks.max() < split.holdout_from
    assert len(split.training) == 100
    world.validate()
    trained = world.train()
    assert trained.trials == 2
    world.change(lambda content: content["data"]["source"]["rolling"].update(origins=99))
    with pytest.raises(DataError, match="cannot be cut into 99 blocks"):
        split_of(world)


def test_a_version_of_a_rolling_window_is_trained_again_on_the_rows_of_the_window(table_world, tmp_path):
    """The size has changed its meaning before the window: a model that also learns the time before is another."""
    frame = visits()
    frame["came"] = np.where(frame.index < 180, frame["came"].map({"yes": "no", "no": "yes"}), frame["came"])
    world = table_world("visits", frame.drop(columns="booked"))
    assert world.init("came") == 0
    rolling = {"split": "rolling", "rolling": {"origins": 2, "window": 100}, "period": "P1D"}
    world.change(lambda content: content["data"]["source"].update(rolling))
    _, ref = world.whole_way()
    ports = ReproducePorts(
        world.registry, world.registry, MemoryStore().ledger, world.tracker, world.data, world.features,
        OnnxScorer(), together, lambda commit: [],
    )  # fmt: skip
    lines: list[str] = []
    again = reproduce(
        world.spec, ref.version, ports, training.build(world.spec), PROVENANCE, False,
        tmp_path / "again", "ann", lambda: datetime(2030, 1, 1, tzinfo=UTC), lines.append,
    )  # fmt: skip
    assert again.outcome is ReproductionOutcome.SAME
    assert again.score_difference == 0
    assert "100 rows train" in lines[0]


def test_a_spec_that_mixes_past_and_future_is_refused(table_world):
    world = table_world("visits", visits())
    assert world.init("came") == 0
    for wrong, named in (
        ({"split": "random"}, "random mixes past and future"),
        ({"split": "rolling"}, "rolling needs `rolling"),
        ({"rolling": {"origins": 2, "window": None}}, "no other split has it"),
        (
            {"split": "rolling", "rolling": {"origins": 2, "window": None}, "time": None},
            "needs a column in `time`",
        ),
    ):
        before = world.spec_path.read_text()
        world.change(lambda content, wrong=wrong: content["data"]["source"].update(wrong))
        with pytest.raises(SpecError, match=named):
            _ = world.spec
        world.spec_path.write_text(before)


def test_copies_on_both_sides_of_the_split_stop_a_training(table_world):
    frame = visits()
    world = table_world("visits", frame)
    assert world.init("came") == 0
    copies = frame.iloc[:30].assign(at=frame["at"].iloc[-30:].to_numpy())
    pd.concat([frame.iloc[:-30], copies]).to_csv(world.path, index=False)
    world.prepare()
    with pytest.raises(
        ValidationFailed, match=r"25\.0% of the rows held back \(30\) are copies of a row that trains"
    ):
        world.validate()
    world.change(lambda content: content["data"]["source"].update(copies=0.9))
    world.prepare()
    assert world.validate().reports[0].ok


def test_times_from_the_future_stop_a_training(table_world):
    frame = visits()
    world = table_world("visits", frame)
    assert world.init("came") == 0
    frame["booked"] = frame["at"] + pd.Timedelta(days=2)
    frame.to_csv(world.path, index=False)
    world.change(lambda content: content["data"].update(expectations={"table": "nothing.yaml"}))
    (world.settings.configs / "expectations" / "nothing.yaml").write_text(
        "expectations: [{type: expect_column_to_exist, kwargs: {column: at}}]\n"
    )
    world.prepare()
    with pytest.raises(
        ValidationFailed, match="booked: in 100% of the rows it is later than the time of the row"
    ):
        world.validate()
    frame["booked"] = frame["at"] - pd.Timedelta(days=2)
    frame.loc[7, "at"] = pd.Timestamp("2031-01-01", tz="UTC")
    frame.to_csv(world.path, index=False)
    world.prepare()
    with pytest.raises(ValidationFailed, match=r"has at 2031-01-01.*in the future"):
        world.validate()
