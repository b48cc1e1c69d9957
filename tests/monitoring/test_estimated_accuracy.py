"""Accuracy without labels: right where only the inputs change, with an error that is measured."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.monitoring.estimated_accuracy import estimate_accuracy

THRESHOLD = 0.4


def answers(random: np.random.Generator, rows: int, a: float, b: float):
    """Return badly calibrated scores (the square root of the chance), decisions, and which are right."""
    chance = random.beta(a, b, rows)
    score = np.sqrt(chance)
    decision = (score >= THRESHOLD).astype(float)
    return score, decision, (decision == (random.random(rows) < chance)).astype(float)


@pytest.mark.parametrize("shape", [(0.5, 2.0), (2.0, 2.0), (1.0, 0.5)])
def test_the_accuracy_of_other_inputs_is_found_though_the_scores_are_not_calibrated(shape):
    random = np.random.default_rng(1)
    reference = answers(random, 6000, 0.8, 1.2)
    score, decision, right = answers(random, 3000, *shape)
    found = estimate_accuracy(*reference, score, decision, of_positive=True)
    assert found.value == pytest.approx(right.mean(), abs=0.03)
    assert abs(reference[2].mean() - right.mean()) > 0.03 or shape == (1.0, 0.5)
    assert 0 < found.error < 0.04


def test_the_chance_of_the_answered_class_is_calibrated_too():
    random = np.random.default_rng(2)

    def classes(rows: int, a: float):
        chance = random.beta(a, 1.5, rows)
        return (
            chance**2,
            random.integers(0, 4, rows).astype(float),
            (random.random(rows) < chance).astype(float),
        )

    reference, (score, decision, right) = classes(6000, 2.0), classes(3000, 4.0)
    found = estimate_accuracy(*reference, score, decision, of_positive=False)
    assert found.value == pytest.approx(right.mean(), abs=0.03)
    assert abs(reference[2].mean() - right.mean()) > 0.1


def test_the_error_is_that_of_the_back_test():
    """Where the answers of a part of the reference are right by chance, the others cannot tell it."""
    random = np.random.default_rng(3)
    score, decision, right = answers(random, 2000, 0.8, 1.2)
    steady = estimate_accuracy(score, decision, right, score, decision, of_positive=True)
    broken = right.copy()
    broken[:400] = random.random(400) < 0.2
    unsteady = estimate_accuracy(score, decision, broken, score, decision, of_positive=True)
    assert unsteady.error > 5 * steady.error
    assert str(steady).endswith("by its confidence")


def test_few_rows_tell_nothing():
    one = np.ones(150)
    assert estimate_accuracy(one, one, one, one, one, of_positive=True) is None
    many = np.ones(400)
    assert estimate_accuracy(many, many, many, one[:0], one[:0], of_positive=True) is None
