"""Pictures and event files that a person can open."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.adapters.documents.figures import TrainingFigures, calibration_points
from perennial.core.tasks import Ranking, Scored
from perennial.core.training.attribution import ClassAttributions, GlobalAttributions


def scored(size: int = 500) -> Scored:
    random = np.random.default_rng(0)
    score = random.random(size)
    return Ranking(threshold=0.5).scored(
        (random.random(size) < score).astype(int), score, np.arange(size) // 10
    )


def test_pictures_are_pngs(tmp_path):
    paths = TrainingFigures().evaluation(
        tmp_path / "plots", "a title", {"model": scored(), "other": scored()}
    )
    assert [path.name for path in paths] == ["roc.png", "precision_recall.png", "calibration.png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in paths)


CLASSES = tuple(
    ClassAttributions(name=name, base=0.5, mean_absolute=means)
    for name, means in (("yes", (0.3, 0.0)), ("no", (0.1, 0.0)))
)


@pytest.mark.parametrize(("base", "classes"), [(0.2, ()), (None, CLASSES)], ids=["one", "classes"])
def test_attributions_are_a_png(tmp_path, base, classes):
    attributions = GlobalAttributions(
        digest="d",
        rows=9,
        background_rows=5,
        coalitions=20,
        base=base,
        mean_absolute=(("a", 0.2), ("b", 0)),
        classes=classes,
        gap=0,
    )
    path = TrainingFigures().attributions(tmp_path / "plots", "a title", attributions)
    assert path.name == "attributions.png"
    assert path.read_bytes().startswith(b"\x89PNG")


def test_calibrated_scores_lie_near_the_diagonal():
    mean, share = calibration_points(scored(20_000))
    assert np.abs(mean - share).max() < 0.05


def test_fewer_rows_than_parts():
    mean, share = calibration_points(scored(3))
    assert len(mean) == len(share) == 3


def test_events_hold_every_epoch(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    TrainingFigures().events(tmp_path, [{"train_loss": 1.0}, {"train_loss": 0.5, "validation_brier": 0.2}])
    read = EventAccumulator(str(tmp_path))
    read.Reload()
    assert [(scalar.step, scalar.value) for scalar in read.Scalars("train_loss")] == [(0, 1.0), (1, 0.5)]
