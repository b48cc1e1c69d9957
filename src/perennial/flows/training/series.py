"""Examples of a forecast: the windows of a table of series."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from perennial.core.data_spec import RowsSpec
from perennial.core.spec import ModelSpec
from perennial.core.tasks.windows import Windows
from perennial.errors import MalformedInput

if TYPE_CHECKING:
    import pandas as pd

ONE = "-"
"""Name of the series where the data have one."""


def window_examples(spec: ModelSpec, source: RowsSpec, table: pd.DataFrame, windows: Windows) -> pd.DataFrame:
    """Return a row per origin and step ahead, in the order of the forecast periods, which are the groups.

    The group of a row is the period of its target: what trains is known when the holdout begins.

    Raises:
        MalformedInput: a time or a series is missing, or a series has two values in a period; names the rows.
        WrongTarget: a value is no number.
        DataError: no series is long enough.
    """
    import pandas as pd

    times, target = source.time or "", spec.target.column
    for name in filter(None, (times, source.group)):
        if table[name].isna().any():
            row = int(table[name].isna().to_numpy().argmax())
            raise MalformedInput(
                f"row {row} has no {name}", hint="every value of a series needs it: mend the data"
            )
    value = spec.task.targets(table[target].to_numpy(), target).astype(float)
    moments = utc_times(table[times])
    series = np.full(len(table), ONE) if source.group is None else table[source.group].to_numpy(dtype=str)
    rows = windows.rows(series, windows.periods(moments), value)
    names = windows.names(several=source.group is not None)
    columns = {name: rows[name] for name in names} | {
        target: rows["target"],
        spec.evaluation.group: rows["period"],
    }
    return pd.DataFrame(columns).sort_values(spec.evaluation.group, kind="stable").reset_index(drop=True)


def utc_times(column: pd.Series[Any]) -> np.ndarray:
    """Return a column of times with a zone as datetime64[s] in UTC."""
    return np.asarray(column.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(dtype="datetime64[s]"))
