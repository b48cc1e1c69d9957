"""Conclusions about a table of series, and the parts of the spec of a forecast."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from perennial.core.data_spec import Split
from perennial.core.tasks import Forecast
from perennial.core.tasks.windows import Frequency, frequency_of
from perennial.core.training.drafts.column_roles import Conclusion, Role, as_time, find_time
from perennial.core.training.drafts.table_columns import ColumnSummary, ColumnType
from perennial.core.training.drafts.table_profile import FEWEST_ROWS, Given, TableProfile
from perennial.core.training.examples import first_later_group
from perennial.errors import DataError

SEASONS = {Frequency.HOUR: 24, Frequency.DAY: 7, Frequency.WEEK: 1, Frequency.MONTH: 12, Frequency.YEAR: 1}
HORIZONS = {Frequency.HOUR: 24, Frequency.DAY: 7, Frequency.WEEK: 4, Frequency.MONTH: 3, Frequency.YEAR: 1}
MOST_SERIES = 200
FEWEST_PAST, FEWEST_SEASONS = 8, 4
"""Least past values of a request, and seasons that the shortest series must have for a season to be looked for."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
SLACK = 1.1
"""Bound of the gate on MASE, as a multiple of the better naive forecast's."""


@dataclass(frozen=True)
class SeriesFound:
    """Findings about the series of a table."""

    task: Forecast
    names: tuple[str, ...]
    """Series in order; empty without a group column."""
    naive: str
    naive_mase: float
    """MASE of the better naive forecast on the latest periods."""

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.task.windows.names(several=bool(self.names))


def series_in(columns: Sequence[ColumnSummary], given: Given) -> Given | None:
    """Return the statements with a forecast as the task, where the table is one of series: a number in time alone.

    It has a time, the target, and at most the name of a series, of which each has a value at most times.
    """
    target = next((column for column in columns if column.name == given.target), None)
    if given.task is not None or given.key is not None or target is None or target.missing == target.rows:
        return None
    rest = [c for c in columns if c.name != given.target and (c.distinct > 1 or c.missing)]
    time = next((c for c in rest if c.name == given.time), None) or (find_time(rest, False) or (None,))[0]
    if (
        time is None
        or target.type not in (ColumnType.INT, ColumnType.FLOAT)
        or target.distinct <= FEWEST_PAST
    ):
        return None
    names = [column for column in rest if column.name != time.name]
    stated = replace(given, task="forecast", time=time.name)
    if not names and time.distinct == time.rows >= FEWEST_ROWS:
        return stated
    if len(names) != 1 or given.group not in (None, names[0].name) or names[0].missing:
        return None
    each = time.rows / names[0].distinct
    is_name = (
        names[0].type is ColumnType.TEXT and 2 <= names[0].distinct <= MOST_SERIES and each >= FEWEST_ROWS
    )
    return (
        replace(stated, group=names[0].name)
        if is_name and time.distinct / 2 <= each <= time.distinct
        else None
    )


def conclude_series(columns: Sequence[ColumnSummary], given: Given, why: str) -> TableProfile:
    """Conclude the roles of the columns of a table of series.

    Args:
        why: reason of the task.

    Raises:
        DataError: a named column is not there, there is no time, or the target is no number or misses values.
    """
    by_name = {column.name: column for column in columns}
    for name in (given.target, given.time, given.group):
        if name is not None and name not in by_name:
            raise DataError(f"the table has no column {name!r}", hint=f"it has {', '.join(by_name)[:500]}")
    target = by_name[given.target]
    if (
        target.type not in (ColumnType.INT, ColumnType.FLOAT)
        or (target.missing and not given.drops_unlabelled)
        or (target.rows - target.missing < FEWEST_ROWS)
    ):
        raise DataError(
            f"{target.name} has {target.rows} values of type {target.type.value}, {target.missing} missing",
            hint=f"a forecast needs at least {FEWEST_ROWS} numbers and none missing: --drop-unlabelled leaves rows out",
        )
    others = [column for column in columns if column.name not in (target.name, given.group)]
    concluded = find_time(others, False)
    time = as_time(by_name[given.time]) if given.time is not None else concluded and concluded[0]
    if time is None or time.type is not ColumnType.TIMESTAMP or time.missing:
        raise DataError("a forecast needs a time in every row", hint="--time names a column of times")
    roles = {target.name: Conclusion(target, Role.TARGET, "it is to be forecast"),
             time.name: Conclusion(time, Role.TIME, "it orders the values of a series")}  # fmt: skip
    if given.group is not None:
        roles[given.group] = Conclusion(by_name[given.group], Role.GROUP, "it names the series")
    unused = "a forecast reads the past values of its target alone"
    conclusions = tuple(roles.get(c.name) or Conclusion(c, Role.LEFT_OUT, unused) for c in columns)
    split = f"{time.name} orders the rows: the latest are held back"
    return TableProfile(
        target.rows - target.missing, "forecast", why, (), Split.TIME, split, None, conclusions
    )


def find_series(
    series: np.ndarray | None, times: np.ndarray, values: np.ndarray, unit: str, horizon: int | None
) -> SeriesFound:
    """Conclude frequency, season and horizon, and measure the naive forecasts on the latest 30 % of the periods.

    Args:
        series: text [n]; None: a single series.
        times: datetime64 [n] in UTC; values: float [n].

    Raises:
        DataError: the series are too short, or their times too dense.
    """
    own = np.full(len(times), "-") if series is None else series
    names, counts = np.unique(own, return_counts=True)
    frequency = min((frequency_of(times[own == name]) for name in names), key=list(Frequency).index)
    season = SEASONS[frequency] if counts.min() >= FEWEST_SEASONS * SEASONS[frequency] else 1
    past = max(FEWEST_PAST, season + 1)
    task = Forecast(
        unit=unit, frequency=frequency, horizon=horizon or HORIZONS[frequency], past=past, season=season,
        quantiles=QUANTILES,
    )  # fmt: skip
    rows = task.windows.rows(own, task.windows.periods(times), values)
    features = np.column_stack([rows[name] for name in task.windows.names(several=False)]).astype(float)
    later = rows["period"] >= first_later_group(rows["period"], 0.7)
    target, group = rows["target"], rows["period"]
    answers = task.baselines(target[~later], int(later.sum()), features[~later], features[later])
    mase = {
        name: task.scored(target[later], answer, group[later], features[later]).measure()["mase"]
        for name, answer in answers.items()
    }
    best = min(mase, key=lambda name: mase[name])
    if not np.isfinite(mase[best]):
        raise DataError("no series changes in its latest values", hint="there is nothing to forecast")
    return SeriesFound(task, () if series is None else tuple(map(str, names)), best, mase[best])
