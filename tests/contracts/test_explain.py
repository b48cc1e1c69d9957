"""The Explain port: the same cases over the fake and over shap."""

from __future__ import annotations

import numpy as np
import pytest
from doubles.attribution import one_path

from perennial.core.training.attribution import Attributions
from perennial.serving.attribution import shapley


@pytest.fixture(params=[one_path, shapley], ids=["memory", "shap"])
def explain(request):
    return request.param


def bent(rows):
    filled = np.where(np.isnan(rows), 0.5, rows)
    score = np.tanh(filled[:, 0] * filled[:, 1] + filled.sum(axis=1)).astype(np.float32)
    return score[:, None]


def of_two_classes(rows):
    return np.hstack([bent(rows), 1 - bent(rows)])


def drawn(count, features=6):
    rows = np.random.default_rng(count).normal(size=(count, features)).astype(np.float32)
    rows[0, 2] = np.nan
    return rows


def test_base_and_attributions_add_up_to_the_score(explain):
    background, rows = drawn(7), drawn(4)
    found: Attributions = explain(bent, background, rows, 30, 1)
    assert found.values.shape == (*rows.shape, 1)
    assert found.base == pytest.approx([bent(background).mean()], abs=1e-6)
    assert found.gap(bent(rows).astype(float)) < 1e-6


def test_each_number_of_an_answer_has_the_attributions_that_it_has_alone(explain):
    background, rows = drawn(7), drawn(4)
    found, alone = (explain(score, background, rows, 30, 1) for score in (of_two_classes, bent))
    assert found.gap(of_two_classes(rows).astype(float)) < 1e-6
    assert found.values[:, :, 0] == pytest.approx(alone.values[:, :, 0], abs=1e-9)
    assert found.values[:, :, 1] == pytest.approx(-found.values[:, :, 0], abs=1e-6)


def test_a_feature_that_the_score_does_not_use_gets_nothing(explain):
    found = explain(lambda rows: rows[:, 1:2] * 2.0, drawn(5), drawn(3), 70, 1)
    assert np.abs(np.delete(found.values, 1, axis=1)).max() < 1e-9


def test_a_row_like_the_background_has_nothing_to_explain(explain):
    row = drawn(2)[1:]
    found = explain(bent, np.repeat(row, 3, axis=0), row, 30, 1)
    assert np.abs(found.values).max() < 1e-9


def test_columns_that_are_known_together_have_one_attribution(explain):
    background, rows = drawn(7), drawn(4)
    found = explain(bent, background, rows, 30, 1, [[0], [1, 3], [2], [4, 5]])
    assert found.values.shape == (4, 4, 1)
    assert found.gap(bent(rows).astype(float)) < 1e-6
    unused = explain(
        lambda rows: rows[:, 1:2] * rows[:, 3:4], background, rows, 30, 1, [[0], [1, 3], [2], [4, 5]]
    )
    assert np.abs(np.delete(unused.values, 1, axis=1)).max() < 1e-9
