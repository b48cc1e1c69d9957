"""Shapley values of a score by Kernel SHAP (library shap).

Model-agnostic: it needs nothing but a function that scores rows, so an ONNX file is explained as it is served. A
feature that is not in a set takes its values from each row of the background; the mean score over them is the
score of the set. Importing shap takes seconds, so that happens inside the call. Source: S. Lundberg, S.-I. Lee,
"A Unified Approach to Interpreting Model Predictions", NeurIPS 2017.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from perennial.core.training.attribution import Attributions

METHOD = "Kernel SHAP"
BLOCK = 1024
"""Rows that are scored at a time: more only fills memory."""


def shapley(
    score: Callable[[np.ndarray], np.ndarray],
    background: np.ndarray,
    rows: np.ndarray,
    coalitions: int,
    seed: int,
) -> Attributions:
    """Attributions of each row, which add up to its score by construction of the regression.

    Not for two threads at a time: the library draws from NumPy's global generator, which is seeded for each
    row (so that a row gets the same attributions in whatever company) and put back afterwards.

    Args:
        score: float32 [n, features], NaN for a missing value -> [n].
        background, rows: float32 [*, features], NaN for a missing value.
        coalitions: sets of features scored per row, at most; all of them are when there are fewer.
    """
    import shap

    # It tells each step of its regression at the level INFO, where a server listens.
    logging.getLogger("shap").setLevel(logging.WARNING)
    explainer = shap.KernelExplainer(_in_blocks(score), background.astype(float))
    with _global_randomness():
        values = []
        for row in rows.astype(float):
            np.random.seed(seed)
            values.append(explainer.shap_values(row, nsamples=coalitions, l1_reg=False, silent=True))
    return Attributions(base=float(explainer.expected_value), values=np.array(values))


def _in_blocks(score: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def scored(rows: np.ndarray) -> np.ndarray:
        features = np.ascontiguousarray(rows, dtype=np.float32)
        parts = [score(features[start : start + BLOCK]) for start in range(0, len(features), BLOCK)]
        return np.concatenate(parts).astype(float)

    return scored


@contextmanager
def _global_randomness() -> Iterator[None]:
    before = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(before)
