"""A model file that cannot be used is told apart from rows that do not fit it."""

from __future__ import annotations

import numpy as np
import pytest
from rate_model import RateModel

from perennial.adapters.onnx_scorer import OnnxScorer
from perennial.core.tasks import Ranking
from perennial.errors import ModelFileError, ShapeError

ROWS = np.array([[0.5, 1.0], [np.nan, 2.0]], dtype=np.float32)


@pytest.fixture
def folder(tmp_path):
    RateModel(("failure_rate", "run_count"), {"slope": 0.5}, 1, Ranking(threshold=0.5)).export(
        tmp_path / "model.onnx"
    )
    return tmp_path


def test_scores_rows(folder):
    assert OnnxScorer().score(folder, ROWS) == pytest.approx([0.25, 0.3])
    assert OnnxScorer().score(folder, ROWS[:0]).shape == (0,)


@pytest.mark.parametrize("rows", [ROWS[:, :1], ROWS[0], np.zeros((1, 3), dtype=np.float32)])
def test_rows_of_another_shape(folder, rows):
    with pytest.raises(ShapeError, match=r"\[batch, 2\]"):
        OnnxScorer().score(folder, rows)


def test_unreadable_file(folder):
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:40])
    with pytest.raises(ModelFileError, match="no model that can be loaded"):
        OnnxScorer().score(folder, ROWS)


def test_no_file(tmp_path):
    with pytest.raises(ModelFileError, match="is not there"):
        OnnxScorer().score(tmp_path, ROWS)
