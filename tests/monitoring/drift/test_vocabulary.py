"""Words that the reference did not use are seen in the counts alone."""

from __future__ import annotations

import numpy as np
import pytest

from perennial.core.monitoring.views.vocabulary import surprises, unseen
from perennial.core.text_hashing import hashed
from perennial.datasets import requirement_texts

BUCKETS = 512


@pytest.fixture(scope="module")
def counts() -> np.ndarray:
    return hashed(requirement_texts.read({})["text"], BUCKETS)[:, 1:]


def test_texts_of_the_same_kind_are_as_unusual_however_few_groups_there_are(counts):
    for groups in (2, 8, 1200):
        before, after = surprises(counts[:1200], np.arange(1200) * groups // 1200, counts[1200:])
        error = np.hypot(before.std(), after.std()) / np.sqrt(1200)
        assert abs(after.mean() - before.mean()) < 3 * error


def test_another_language_of_the_same_length_is_more_unusual(counts):
    german = [
        "Das Portal muss jede Rechnung binnen drei Sekunden anzeigen.",
        "Der Dienst soll Bestellungen drucken.",
    ]
    before, after = surprises(counts, np.arange(len(counts)), hashed(german, BUCKETS)[:, 1:])
    assert after.min() > np.quantile(before, 0.99)


def test_the_figure_is_the_mean_information_of_the_n_grams():
    reference = np.array([[2.0, 0, 0], [0, 1, 0], [1, 0, 0]])
    before, after = surprises(reference, np.array([0, 1, 2]), np.array([[0, 0, 4.0], [1, 1, 0], [0, 0, 0]]))
    # Others of row 0: counts 1 1 0, with one more each 2 2 1 of 5.
    assert before[0] == pytest.approx(-np.log2(2 / 5))
    # Row 0 of the window is judged without row 0 of the reference, row 1 without row 1.
    assert after[0] == pytest.approx(-np.log2(1 / 5))
    assert after[1] == pytest.approx((-np.log2(4 / 6) - np.log2(1 / 6)) / 2)
    assert np.isnan(after[2]), "a text without n-grams has no words"


def test_a_missing_text_has_no_words_and_takes_no_part():
    reference = np.array([[1.0, 1], [1, 1], [np.nan, np.nan]])
    before, after = surprises(reference, np.arange(3), np.array([[np.nan, np.nan], [2, 0]]))
    assert np.isnan(before[2])
    assert np.isnan(after[0])
    assert np.isfinite(after[1])


def test_the_share_of_new_n_grams():
    assert unseen(np.array([[1.0, 0, 2]]), np.array([[1.0, 3, 0]])) == 0.75
    assert unseen(np.array([[1.0, 0]]), np.array([[0.0, 0]])) == 0
