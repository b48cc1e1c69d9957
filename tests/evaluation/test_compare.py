"""Two versions on one history: paired figures and the rows that they disagree on."""

from __future__ import annotations

import json

import numpy as np
import pytest
from rate_model import RateModel
from signing import signed
from training_world import HISTORY, SPEC, TrainingWorld

from perennial.core.evaluation.comparison import compare
from perennial.core.training.registration import NewVersion
from perennial.core.version import Change
from perennial.errors import DataError, UnknownVersion, UsageError
from perennial.flows.evaluation.compare import compare_versions
from perennial.history.prepare import prepare as make

pytestmark = pytest.mark.slow


def add_version(trained_world: TrainingWorld, slope: float):
    """A version like the first with another slope."""
    folder = trained_world.folder / f"slope-{slope}"
    folder.mkdir()
    for name, content in trained_world.tracker.runs[
        trained_world.registry.versions(SPEC.name)[0].run_id
    ].served.items():
        (folder / name).write_bytes(content)
    model = RateModel(SPEC.features.names, {"slope": slope}, 1, SPEC.task)
    model.export(folder / "model.onnx")
    digest = signed(folder, SPEC.name, "c" * 64)
    run = trained_world.tracker.run(SPEC.name, "training", {})
    uri = run.model(folder, None, np.zeros((1, 3)), np.zeros(1))
    new = NewVersion(
        model=SPEC.name, run_id=run.run_id, model_uri=uri, digest=digest, capsule="c" * 64,
        change=Change.RETRAINED, description="another slope",
    )  # fmt: skip
    return trained_world.registry.register(new)


@pytest.fixture
def trained_world(tmp_path):
    trained_world = TrainingWorld(tmp_path)
    trained_world.release()
    add_version(trained_world, 0.05)
    return trained_world


def compared(trained_world, old="1.0.0", new="1.1.0", since=None, examples=5):
    return compare_versions(
        SPEC, (old, new), HISTORY, since, make, trained_world.features, trained_world.registry, trained_world.scorer,
        trained_world.folder / "fetched", examples,
    )  # fmt: skip


def test_same_ranking_other_calibration(trained_world):
    found = compared(trained_world)
    assert found.gains["roc_auc"].value == pytest.approx(0, abs=1e-3)
    assert found.gains["brier"].low <= found.gains["brier"].value <= found.gains["brier"].high
    difference = found.scores["old"]["brier"].value - found.scores["new"]["brier"].value
    assert found.gains["brier"].value == pytest.approx(difference)
    apart = [abs(one.new - one.old) for one in found.disagreements]
    assert len(apart) == 5
    assert apart == sorted(apart, reverse=True)
    assert set(found.disagreements[0].row) == {"test_id", "cycle"}
    assert json.loads(found.model_dump_json())["first_group"] == found.first_group


def test_the_other_way_round_turns_the_signs(trained_world):
    there, back = compared(trained_world), compared(trained_world, "1.1.0", "1.0.0")
    for metric, gain in there.gains.items():
        assert back.gains[metric].value == pytest.approx(-gain.value)
        assert back.gains[metric].low == pytest.approx(-gain.high)


def test_refusals(trained_world):
    with pytest.raises(UnknownVersion, match=r"9\.9\.9"):
        compared(trained_world, new="9.9.9")
    with pytest.raises(UsageError, match="same file"):
        compared(trained_world, new="champion")
    with pytest.raises(DataError, match="the last is"):
        compared(trained_world, since=10_000)


def test_paired_interval_is_narrower_than_that_of_either():
    """Hard cycles are hard for both: that is what pairing takes out."""
    draw = np.random.default_rng(3)
    group = np.repeat(np.arange(40), 25)
    target = (draw.random(1000) < np.repeat(draw.uniform(0.05, 0.6, 40), 25)).astype(float)
    noise = draw.normal(0, 1, 1000) * np.repeat(draw.uniform(0.2, 3, 40), 25)
    score = 1 / (1 + np.exp(-(target - 0.5 + noise)))
    other = np.clip(score + draw.normal(0, 0.01, 1000), 0, 1)
    pair = (SPEC.task.scored(target, score, group), SPEC.task.scored(target, other, group))
    found = compare(("a", "b"), pair, [{"n": n} for n in range(1000)], 3, 200, 1)
    gain, alone = found.gains["roc_auc"], found.scores["old"]["roc_auc"]
    assert gain.high - gain.low < 0.2 * (alone.high - alone.low)
    assert found.decisions_changed == int(((score >= 0.5) != (other >= 0.5)).sum())
    same = compare(("a", "a"), (pair[0], pair[0]), [{}] * 1000, 3, 20, 1)
    assert (same.disagreements, same.decisions_changed) == ((), 0)
