"""Logged answers as the rows of the training data, so that the suite of the one can check the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from perennial.core.input_spec import InputKind, InputSpec
from perennial.core.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd


def live_rows(spec: ModelSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the values of the logged features as they stand in the training data, under the names of its columns.

    The log has what the model got: a category by its code, a time in days, a text as counts. A text itself is not
    kept, so it has no column here.

    Args:
        rows: features under their own names.
    """
    counted = spec.features.bucket_columns
    table = rows[[name for name in spec.features.names if name in rows and name not in counted]].copy()
    for name, given in spec.features.inputs.items():
        if name in table:
            table[name] = _as_sent(given, table[name])
    return table


def _as_sent(given: InputSpec, values: pd.Series[float]) -> pd.Series:
    import pandas as pd

    if given.type is InputKind.CATEGORY:
        known = np.array([*given.categories, None], dtype=object)
        codes = values.fillna(len(given.categories)).to_numpy(dtype=int)
        return pd.Series(known[codes], index=values.index)
    if given.type is InputKind.TIMESTAMP:
        return pd.to_datetime(values, unit="D", utc=True)
    if given.type is InputKind.BOOL:
        return values.map({0.0: False, 1.0: True}).astype(object)
    return values
