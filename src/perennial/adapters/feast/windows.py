"""Past-only window features, computed by DuckDB in a single query.

Rows and events lie in one list in the order of time; a window of the list ends a microsecond before its row, so that no
event of the same moment, such as the row itself, is in it.
"""

from __future__ import annotations

from datetime import timedelta

import duckdb
import numpy as np
import pandas as pd

from perennial.core.feature_view import Aggregate, ViewSpec, WindowFeature
from perennial.errors import MalformedInput

EVENT, ROW = 0, 1


def window_columns(
    view: ViewSpec, names: list[str], events: pd.DataFrame, rows: pd.DataFrame, row_time: str
) -> dict[str, np.ndarray]:
    """Return features of the events of each row's entity that were known before the time of the row.

    An event counts from when it was known (`times.created`), if that is later than its time.

    Args:
        names: features of the view.
        events: entity, times and columns of the view.
        rows: entity and time.

    Returns:
        Feature -> float64 [rows]. NaN without an event, but 0 for a count or a rate.

    Raises:
        MalformedInput: a column is missing, or an event has no entity or time.
    """
    wanted = [feature for feature in view.window_features if feature.name in names]
    times = [name for name in (view.times.event, view.times.created) if name is not None]
    columns = sorted({feature.column for feature in wanted if feature.column})
    _need(f"the events of {view.name}", events, [view.entity, *times, *columns])
    _need(f"the rows to join with {view.name}", rows, [view.entity, row_time])
    for name in (view.entity, *times):
        if events[name].isna().any():
            place = int(events[name].isna().to_numpy().argmax())
            raise MalformedInput(
                f"event {place} of {view.name} has no {name}",
                hint="every event needs an entity and its times",
            )
    known_at = np.stack([_microseconds(events[name]) for name in times]).max(axis=0)
    # A number for each entity sorts faster than its text.
    codes, _ = pd.factorize(
        np.concatenate([events[view.entity].to_numpy(object), rows[view.entity].to_numpy(object)])
    )
    events = pd.DataFrame(
        {"entity": codes[: len(events)], "moment": known_at}
        | {f"c{place}": _numbers(events[name]) for place, name in enumerate(columns)}
    )
    asked = pd.DataFrame(
        {
            "entity": codes[len(events) :],
            "moment": _microseconds(rows[row_time]),
            "place": np.arange(len(rows), dtype=np.int64),
        }
    )
    if rows.empty:
        return {name: np.empty(0) for name in names}
    lengths = list(dict.fromkeys(feature.over for feature in wanted))
    expressions = list(dict.fromkeys(_expression(feature, columns, lengths) for feature in wanted))
    with duckdb.connect() as database:
        database.execute("SET threads = 2")
        database.register("events", events)
        database.register("asked", asked)
        computed = database.execute(_query(expressions, lengths, len(columns))).fetchnumpy()
    order = np.argsort(np.asarray(computed["place"]), kind="stable")
    values = {
        expression: np.ma.filled(np.ma.asarray(computed[f"f{place}"], dtype="float64"), np.nan)[order]
        for place, expression in enumerate(expressions)
    }
    return {
        feature.name: _finished(
            feature, values[_expression(feature, columns, lengths)], asked["moment"].to_numpy()
        )
        for feature in wanted
    }


def _query(expressions: list[str], lengths: list[timedelta], columns: int) -> str:
    """Return the query; it holds numbers of columns only, no name of a person."""
    windows = ", ".join(
        f"w{place} AS (PARTITION BY entity ORDER BY moment RANGE BETWEEN {_length(over)} PRECEDING AND 1 PRECEDING)"
        for place, over in enumerate(lengths)
    )
    computed = ", ".join(f"{expression} AS f{place}" for place, expression in enumerate(expressions))
    values = "".join(f", c{place}" for place in range(columns))
    nothing = "".join(f", NULL AS c{place}" for place in range(columns))
    return f"""
        WITH listed AS (
            SELECT entity, moment, NULL AS place, moment AS seen{values} FROM events
            UNION ALL
            SELECT entity, moment, place, NULL AS seen{nothing} FROM asked
        ), computed AS (SELECT place, {computed} FROM listed WINDOW {windows})
        SELECT * FROM computed WHERE place IS NOT NULL
    """  # noqa: S608


def _expression(feature: WindowFeature, columns: list[str], lengths: list[timedelta]) -> str:
    value = "seen" if feature.column is None else f"c{columns.index(feature.column)}"
    window = f"w{lengths.index(feature.over)}"
    match feature.function:
        case Aggregate.MEAN:
            return f"avg({value}) OVER {window}"
        case Aggregate.COUNT | Aggregate.RATE:
            return f"count({value}) OVER {window}"
        case Aggregate.LAST:
            return f"last_value({value} IGNORE NULLS) OVER {window}"
        case Aggregate.TIME_SINCE:
            # Times are in order, so the newest is the last.
            return f"last_value({value} IGNORE NULLS) OVER {window}"


def _finished(feature: WindowFeature, values: np.ndarray, moments: np.ndarray) -> np.ndarray:
    if feature.function is Aggregate.RATE:
        return values / (feature.over.total_seconds() / 86_400)
    return (moments - values) / 3.6e9 if feature.function is Aggregate.TIME_SINCE else values


def _length(over: timedelta) -> int:
    return round(over.total_seconds() * 1e6)


def _microseconds(times: pd.Series) -> np.ndarray:
    return pd.to_datetime(times, utc=True).to_numpy("datetime64[us]").astype("int64")


def _numbers(values: pd.Series) -> np.ndarray:
    """Return numbers and bools as float64, NaN for a missing one; DuckDB takes NaN from pandas as NULL."""
    return values.astype("Float64").to_numpy("float64", na_value=np.nan)


def _need(what: str, frame: pd.DataFrame, names: list[str]) -> None:
    missing = [name for name in names if name not in frame.columns]
    if missing:
        raise MalformedInput(
            f"{what}: no column {', '.join(missing)}", hint="the YAML of the view names them"
        )
