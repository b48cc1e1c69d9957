"""Shapley values of the numbers of an answer by Kernel SHAP (library shap).

The method is model-agnostic: it needs only a function that scores rows, so the served ONNX file itself is explained.
A feature outside a coalition takes its values from each row of the background; the mean score over these rows is
the score of the coalition. Several numbers of an answer share the scored rows. The import of shap takes seconds, so
it happens with the first version that can be explained (`load_library`). Source: S. Lundberg, S.-I. Lee, "A Unified
Approach to Interpreting Model Predictions", NeurIPS 2017.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np

from perennial.core.training.attribution import Attributions

METHOD = "Kernel SHAP"
BLOCK = 1024
"""Rows per call of the model: larger blocks only need more memory."""


def load_library() -> None:
    """Import the library, which takes seconds; where it is not installed, explanations are refused."""
    with suppress(ImportError):
        import shap  # noqa: F401


def shapley(
    score: Callable[[np.ndarray], np.ndarray],
    background: np.ndarray,
    rows: np.ndarray,
    coalitions: int,
    seed: int,
    together: Sequence[Sequence[int]] | None = None,
) -> Attributions:
    """Return the attributions of each row, which add up to its scores by construction of the regression.

    Not thread-safe: the library uses NumPy's global generator. It is seeded for each row, so that the attributions
    of a row do not depend on the other rows, and restored afterwards.

    Args:
        score: float32 [n, columns], NaN for a missing value -> [n, k].
        background, rows: float32 [*, columns], NaN for a missing value.
        coalitions: maximum number of feature coalitions per row.
        together: places of the columns of each feature, which are known together; None: each column is one.
    """
    import shap

    # The library logs each step of its regression at level INFO, which a server would print.
    logging.getLogger("shap").setLevel(logging.WARNING)
    usual, features = background.astype(float), rows.shape[1]
    if together is not None and len(together) < features:
        # Not of the public API, which has no groups of columns.
        from shap.utils._legacy import DenseData

        features = len(together)
        usual = DenseData(usual, list(map(str, range(features))), list(map(np.array, together)))
    explainer = shap.KernelExplainer(_in_blocks(score), usual)
    with _global_randomness():
        values = []
        for row in rows.astype(float):
            np.random.seed(seed)
            values.append(explainer.shap_values(row, nsamples=coalitions, l1_reg=False, silent=True))
    base = np.atleast_1d(np.asarray(explainer.expected_value, dtype=float))
    return Attributions(base=base, values=np.reshape(values, (len(rows), features, len(base))))


def _in_blocks(score: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
    def scored(rows: np.ndarray) -> np.ndarray:
        features = np.ascontiguousarray(rows, dtype=np.float32)
        parts = [score(features[start : start + BLOCK]) for start in range(0, len(features), BLOCK)]
        scores = np.concatenate(parts).astype(float)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    return scored


@contextmanager
def _global_randomness() -> Iterator[None]:
    before = np.random.get_state()
    try:
        yield
    finally:
        np.random.set_state(before)
