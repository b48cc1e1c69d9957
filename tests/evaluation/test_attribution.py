"""Attributions that add up or are not given, and rows that stand for what is usual."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.training.attribution import Attributions, GlobalAttributions, check_complete
from perennial.core.training.explanation import Background
from perennial.errors import IncompleteExplanation

FOUND = Attributions(base=np.array([0.5]), values=np.array([[[0.25], [-0.125]], [[0.0], [0.5]]]))
SCORES = np.array([[0.625], [1.0]])


def test_complete_attributions_pass_with_their_gap():
    assert FOUND.gap(SCORES) == 0
    assert check_complete(FOUND, SCORES + 1e-6, 1e-5) == pytest.approx(1e-6)


@pytest.mark.parametrize("scores", [SCORES + 0.01, np.array([[0.625], [np.nan]])])
def test_others_are_refused(scores):
    with pytest.raises(IncompleteExplanation, match="miss the score"):
        check_complete(FOUND, scores, 1e-3)


def test_background_keeps_missing_values_through_json():
    rows = np.array([[1.5, np.nan], [2.5, 3.25], [0.1, 4.0]], dtype=np.float32)
    drawn = Background.drawn(("a", "b"), rows, 5, seed=1)
    again = Background.model_validate_json(drawn.model_dump_json())
    assert np.array_equal(again.values(), rows, equal_nan=True)
    assert again.values().dtype == np.float32


def test_background_is_drawn_by_its_seed():
    rows = np.arange(200, dtype=np.float32).reshape(100, 2)
    one, same, other = (Background.drawn(("a", "b"), rows, 10, seed) for seed in (1, 1, 2))
    assert one == same != other
    assert len(set(one.rows)) == 10


def test_global_attributions_are_mean_absolutes_largest_first():
    found = GlobalAttributions.of("d", ("a", "b"), (), FOUND, background_rows=4, coalitions=2, gap=0.0)
    assert found.mean_absolute == (("b", 0.3125), ("a", 0.125))
    assert (found.rows, found.base, found.classes) == (2, 0.5, ())


def test_global_attributions_of_classes_are_of_each_and_of_all():
    both = Attributions(
        base=np.array([0.5, 0.25]), values=np.concatenate([FOUND.values, -3 * FOUND.values], axis=2)
    )
    found = GlobalAttributions.of("d", ("a", "b"), ("no", 1), both, background_rows=4, coalitions=2, gap=0.0)
    assert found.mean_absolute == (("b", 0.625), ("a", 0.25))
    assert found.base is None
    assert [(part.name, part.base, part.mean_absolute) for part in found.classes] == [
        ("no", 0.5, (0.3125, 0.125)),
        ("1", 0.25, (0.9375, 0.375)),
    ]


def test_global_attributions_of_older_runs_are_read():
    older = '{"digest": "d", "rows": 2, "background_rows": 4, "coalitions": 2, "base": 0.5, "gap": 0.0,'
    found = GlobalAttributions.model_validate_json(f'{older} "mean_absolute": [["b", 0.3], ["a", 0.1]]}}')
    assert (found.base, found.classes) == (0.5, ())
