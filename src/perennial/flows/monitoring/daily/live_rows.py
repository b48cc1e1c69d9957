"""Logged answers as the rows of the training data, so that the suite of the one can check the other."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.input_spec import InputKind, InputSpec
from perennial.core.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd

DAY = 86_400e6
"""Microseconds."""
DAYS = [(day - date(1970, 1, 1)).days for day in (date.min, date.max)]
"""First and last day of a `datetime`; the last hours of the year 9999 are rounded beyond it."""


def live_rows(spec: ModelSpec, rows: pd.DataFrame) -> pd.DataFrame:
    """Return the values of the logged features as they stand in the training data, under the names of its columns.

    The log has what the model got, float32: a category by its code, a time in days, a text as counts. A text itself
    is not kept, so it has no column here. A number is the shortest decimal that float32 rounds to the logged one, so
    0.1 is 0.1 again; whole numbers above 2**24 and the seconds of a time stay rounded.

    Args:
        rows: features under their own names.
    """
    counted = spec.features.bucket_columns
    table = rows[[name for name in spec.features.names if name in rows and name not in counted]].copy()
    inputs = spec.features.inputs
    for name in map(str, table):
        given = inputs.get(name)
        table[name] = _shortest(table[name]) if given is None else _as_sent(given, table[name])
    return table


def _as_sent(given: InputSpec, values: pd.Series[float]) -> pd.Series:
    import pandas as pd

    if given.type is InputKind.CATEGORY:
        known = np.array([*given.categories, None], dtype=object)
        codes = values.fillna(len(given.categories)).to_numpy(dtype=int)
        return pd.Series(known[codes], index=values.index)
    if given.type is InputKind.TIMESTAMP:
        return pd.Series(_times(values.to_numpy(dtype=float)), index=values.index).dt.tz_localize("UTC")
    if given.type is InputKind.BOOL:
        return values.map({0.0: False, 1.0: True}).astype(object)
    return _shortest(values)


def _times(days: np.ndarray) -> np.ndarray:
    """Return days since 1970 as datetime64[us], which holds all years of a `datetime`; nanoseconds end in 2262."""
    known = ~np.isnan(days)
    times = np.full(len(days), np.datetime64("NaT", "us"))
    times[known] = np.round(days[known].clip(*DAYS) * DAY).astype(np.int64).astype("datetime64[us]")
    return times


def _shortest(values: pd.Series[float]) -> pd.Series[float]:
    """Return the shortest decimal of each float32; a number that is none stays."""
    import pandas as pd

    distinct, places = np.unique(values.to_numpy(dtype=float), return_inverse=True)
    with np.errstate(over="ignore"):
        single = distinct.astype(np.float32)
    decimals = np.where(single == distinct, [float(str(value)) for value in single], distinct)
    return pd.Series(decimals[places], index=values.index)
