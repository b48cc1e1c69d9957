"""Business metrics of the performance report: a query of the spec over the answers of a period (DuckDB)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import duckdb

from perennial.core.monitoring_spec import BusinessSpec
from perennial.errors import SpecError

if TYPE_CHECKING:
    import pandas as pd

TABLE = "answers"
LEFT_OUT = ("answer", "names")
"""Columns of the log that are no values of a cell, or the same in each row."""
HINT = f"monitoring.business of the spec: a query over the table {TABLE} that gives one number"


def business_metric(rows: pd.DataFrame, metric: BusinessSpec) -> float | None:
    """Return the number that the query gives; None where it gives NULL or NaN, as an average of nothing.

    The query sees the answers only: no file, no other table, no network.

    Args:
        rows: columns of the log, and `right`, `loss`, `label`. The table has features as `feature_<name>`.

    Raises:
        SpecError: it does not run, or gives no row or several, or no number.
    """
    table = rows.drop(columns=[name for name in LEFT_OUT if name in rows])
    table = table.rename(columns=lambda name: name.replace("feature:", "feature_"))
    closed = {"enable_external_access": "false", "threads": "2"}
    with duckdb.connect(config=closed) as database:
        database.register(TABLE, table)
        try:
            answers = database.execute(metric.sql).fetchmany(2)
        except duckdb.Error as error:
            raise SpecError(f"{metric.sql!r} does not run: {error}", hint=HINT) from error
    if len(answers) != 1 or len(answers[0]) != 1:
        raise SpecError(f"{metric.sql!r} gives {len(answers) or 'no'} rows or several columns", hint=HINT)
    try:
        value = math.nan if answers[0][0] is None else float(answers[0][0])
    except (TypeError, ValueError) as error:
        raise SpecError(f"{metric.sql!r} gives {answers[0][0]!r}, which is no number", hint=HINT) from error
    return value if math.isfinite(value) else None
