"""Split-conformal calibration: a quantile of errors on rows that a model has not learnt from."""

from __future__ import annotations

import math

import numpy as np

from perennial.errors import DataError

ROUNDING = 1e-9


def absolute_quantile(errors: np.ndarray, level: float) -> float:
    """Return the ceil((n + 1) * level)-th smallest absolute error.

    If the next error is exchangeable with these, it is at most so large with a chance of at least `level`, and less
    than level + 1 / (n + 1) without ties. Source: V. Vovk et al. 2005; Y. Romano, E. Patterson, E. Candes,
    "Conformalized Quantile Regression", NeurIPS 2019, theorem 1.

    Args:
        errors: [n].

    Raises:
        DataError: so few errors cannot prove the level.
    """
    rank = math.ceil((len(errors) + 1) * level - ROUNDING)
    if rank > len(errors):
        least = math.ceil(level / (1 - level) - ROUNDING)
        raise DataError(
            f"{len(errors)} calibration rows cannot prove an interval of {level:.0%}: at least {least} are needed",
            hint="bring more data, raise tuning.validation_fraction, or lower task.interval",
        )
    return float(np.sort(np.abs(errors))[rank - 1])
