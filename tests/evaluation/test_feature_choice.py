"""A choice of features is proven on rows that had no part in it: a signal is kept, the best of much noise is not."""

from __future__ import annotations

import numpy as np
import pytest
from doubles.learner import least_squares

from perennial.core.evaluation.feature_choice import Chooser
from perennial.core.tasks import Regression
from perennial.core.training.examples import Examples
from perennial.errors import DataError

TASK = Regression(unit="m", tolerance=1.0)


def chooser(candidates, target, present=None, base=None, groups=100):
    rows = len(target)
    present = np.zeros((rows, 1), np.float32) if present is None else present
    examples = Examples(present, target.astype(np.float32), np.arange(rows) * groups // rows)
    base = present if base is None else base
    return Chooser(TASK, "mae", examples, base, candidates.astype(np.float32), least_squares, 100, 7)


def names(count):
    return [f"c{number}" for number in range(count)]


def silent(line):
    pass


def test_a_signal_is_kept_and_what_repeats_it_is_not():
    random = np.random.default_rng(3)
    noise = random.normal(size=(2000, 6))
    noise[:, 4] = noise[:, 1] + random.normal(0, 0.3, 2000)
    noise[:, 5] = np.nan
    choice = chooser(noise, noise[:, 1] + 0.6 * noise[:, 3] + random.normal(size=2000)).choose(
        names(6), silent
    )
    assert choice.kept == ("c1", "c3")
    measured = {candidate.name: candidate for candidate in choice.candidates}
    assert measured["c4"].alone.low > 0
    assert not measured["c4"].kept
    assert measured["c5"].alone is None
    assert measured["c1"].proof.low > 0
    assert choice.total.low > 0
    assert choice.rows == (1200, 400, 400)


def test_the_best_of_much_noise_is_not_kept():
    """Among 30 candidates some look good on the rows of the choice; the rows of the proof know nothing of that."""
    kept = looked_good = 0
    for seed in range(20):
        random = np.random.default_rng(seed)
        choice = chooser(random.normal(size=(1000, 30)), random.normal(size=1000)).choose(names(30), silent)
        looked_good += any(candidate.chosen for candidate in choice.candidates)
        kept += len(choice.kept) > 0
    assert looked_good >= 5
    assert kept <= 1


def test_windows_must_make_up_for_an_input_that_becomes_the_key():
    random = np.random.default_rng(5)
    client = random.normal(size=(2000, 1)).astype(np.float32)
    target = client[:, 0] + 0.3 * random.normal(size=2000)
    proxy = client + random.normal(size=(2000, 1))
    choice = chooser(proxy, target, present=client, base=np.zeros((2000, 1), np.float32)).choose(
        ["c0"], silent
    )
    assert choice.candidates[0].proof.low > 0
    assert choice.total.high < 0
    assert choice.kept == ()


def test_too_few_groups_are_no_proof():
    with pytest.raises(DataError, match=r"40 groups .* too few"):
        chooser(np.zeros((400, 1)), np.arange(400.0), groups=40).choose(["c0"], silent)
