"""The point-in-time join, generated from Feast's definitions and executed by DuckDB.

Feast's own `get_historical_features` first pairs every row with all states of its entity, which does not fit
into memory for a million rows over a million states. An ASOF join keeps a single pointer per row. A test
compares the result with that of Feast with `filter_by_created_timestamp=True`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from feast import FeatureView
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.types import Array, Float32, String, UnixTimestamp

from perennial.adapters.feast.objects import windows_of
from perennial.adapters.feast.windows import window_columns
from perennial.core.feature_spec import FeatureSpec
from perennial.errors import MalformedInput, SpecError

ROW_TIME = "event_timestamp"


def join(
    features: FeatureSpec,
    rows: pd.DataFrame,
    views: Mapping[str, pd.DataFrame],
    defined: Mapping[str, FeatureView | OnDemandFeatureView],
) -> pd.DataFrame:
    """Return `rows` with a column per feature; it replaces a request value of the same name.

    Args:
        rows: entity keys, request values and event_timestamp.
        views: the tables of the stored views.
        defined: stored and on-demand feature views by name.

    Raises:
        SpecError: a feature is not defined.
        MalformedInput: a table or a column is missing.
    """
    wanted: dict[str, list[str]] = {}
    for column in features.columns:
        view, feature = column.split(":", 1)
        _defined(view, feature, defined)
        wanted.setdefault(view, []).append(feature)
    on_demand = [view for name in wanted if isinstance(view := defined[name], OnDemandFeatureView)]
    stored = {name: list(names) for name, names in wanted.items() if isinstance(defined[name], FeatureView)}
    for view in on_demand:
        for source, names in _sources(view).items():
            stored[source] = list(dict.fromkeys([*stored.get(source, []), *names]))
    stored_values = {
        name: _stored_columns(defined[name], names, rows, views) for name, names in stored.items()
    }
    for view in on_demand:
        inputs = {
            name: stored_values[source][name] for source, names in _sources(view).items() for name in names
        }
        stored_values[view.name] = on_demand_columns(view, inputs, rows)
    columns = {feature: stored_values[view][feature] for view, names in wanted.items() for feature in names}
    return rows.assign(**columns)


def state_columns(
    view: FeatureView, names: Sequence[str], state: pd.DataFrame, rows: pd.DataFrame
) -> dict[str, np.ndarray]:
    """Return the features of a view as known at each row's event_timestamp.

    A row takes the newest state whose timestamp and created timestamp are not later than the row, unless the
    state is older than the ttl of the view.

    Args:
        names: features of the view.
        state: the view's rows: join keys, time columns, features.
        rows: join keys and event_timestamp.

    Returns:
        Feature name -> float64 [rows], NaN without such a state; texts, times and arrays as they are, None without one.

    Raises:
        MalformedInput: a column is missing in `state` or `rows`.
    """
    times = time_columns(view)
    _need(f"the feature table {view.name}", state, [*view.join_keys, *times, *names])
    _need(f"the rows to join with {view.name}", rows, [*view.join_keys, ROW_TIME])
    state = state.sort_values(times, kind="stable", ignore_index=True)
    stamps = np.stack([_nanoseconds(state[name]) for name in times])
    row_times = _nanoseconds(rows[ROW_TIME])
    position = _newest_known(view.join_keys, state, stamps.max(axis=0), rows, row_times)
    known = position >= 0
    if view.ttl is not None and view.ttl.total_seconds() > 0:
        oldest = row_times - round(view.ttl.total_seconds() * 1e9)
        known &= np.where(known, stamps[0][position], 0) >= oldest
    columns = {}
    types = {field.name: field.dtype for field in view.features}
    for name in names:
        if types[name] in (String, UnixTimestamp, Array(Float32)):
            values = state[name].astype(object).where(state[name].notna(), None).to_numpy(object)
            columns[name] = np.full(len(rows), None, dtype=object)
        else:
            values = state[name].to_numpy("float64", na_value=np.nan)
            columns[name] = np.full(len(rows), np.nan)
        columns[name][known] = values[position[known]]
    return columns


def time_columns(view: FeatureView) -> list[str]:
    """Return the timestamp field and, if the source has it, the created timestamp column."""
    source = view.batch_source
    return [name for name in (source.timestamp_field, source.created_timestamp_column) if name]


def on_demand_columns(
    view: OnDemandFeatureView, sources: Mapping[str, np.ndarray], rows: pd.DataFrame
) -> dict[str, np.ndarray]:
    """Compute the features of an on-demand view with the function that Feast calls online.

    Args:
        sources: the stored features that the view reads, float64 [rows].
        rows: holds the request values that it reads.

    Raises:
        SpecError: the view does not use mode python over whole columns.
        MalformedInput: a request value is missing in `rows`.
    """
    if view.mode != "python" or view.singleton:
        raise SpecError(
            f"the on-demand view {view.name} is of mode {view.mode!r}", hint="use mode python over lists"
        )
    request = [field.name for source in view.source_request_sources.values() for field in source.schema]
    _need(f"the rows to join with {view.name}", rows, request)
    inputs: dict[str, list[Any]] = {
        name: [None if value != value else value for value in column.tolist()]
        for name, column in sources.items()
    }
    inputs |= {name: rows[name].tolist() for name in request}
    answer = view.feature_transformation.udf(inputs)
    return {feature.name: np.array(answer[feature.name], dtype="float64") for feature in view.features}


def _sources(view: OnDemandFeatureView) -> dict[str, list[str]]:
    """Return stored view -> its features that an on-demand view reads."""
    projections = view.source_feature_view_projections.values()
    return {source.name: [feature.name for feature in source.features] for source in projections}


def _stored_columns(
    view: FeatureView, names: Sequence[str], rows: pd.DataFrame, views: Mapping[str, pd.DataFrame]
) -> dict[str, np.ndarray]:
    if view.name not in views:
        raise MalformedInput(f"no table of the feature view {view.name!r}", hint="prepare the data again")
    spec = windows_of(view)
    if spec is not None:
        return window_columns(spec, list(names), views[view.name], rows, ROW_TIME)
    return state_columns(view, names, views[view.name], rows)


def _defined(view: str, feature: str, defined: Mapping[str, Any]) -> None:
    if view not in defined or feature not in {field.name for field in defined[view].features}:
        raise SpecError(
            f"no feature {view}:{feature} is defined (views: {', '.join(defined)})",
            hint="define it in configs/features or correct the spec",
        )


def _newest_known(
    keys: Sequence[str], state: pd.DataFrame, known_at: np.ndarray, rows: pd.DataFrame, row_times: np.ndarray
) -> np.ndarray:
    """Return the position in `state` (oldest first) of the newest known state, int64 [rows]; -1 for none.

    A late state must not hide a newer state that was known before it, so the query takes the maximum position
    over all states known so far.
    """
    columns = {f"key_{number}": key for number, key in enumerate(keys)}
    states = pd.DataFrame({column: state[key] for column, key in columns.items()})
    states["known_at"], states["position"] = known_at, np.arange(len(state))
    requests = pd.DataFrame({column: rows[key].to_numpy() for column, key in columns.items()})
    requests["row_times"], requests["row"] = row_times, np.arange(len(rows))
    if requests.empty or states.empty:
        return np.full(len(rows), -1, dtype="int64")
    names = ", ".join(columns)
    match = " AND ".join(f"requests.{column} = newest.{column}" for column in columns)
    query = f"""
        WITH newest AS (
            SELECT {names}, known_at,
                   max(position) OVER (PARTITION BY {names} ORDER BY known_at) AS position
            FROM states
        )
        SELECT coalesce(newest.position, -1) AS position
        FROM requests ASOF LEFT JOIN newest ON {match} AND requests.row_times >= newest.known_at
        ORDER BY requests.row
    """  # noqa: S608 contains column numbers only
    with duckdb.connect() as connection:
        connection.register("states", states)
        connection.register("requests", requests)
        return connection.execute(query).fetchnumpy()["position"].astype("int64")


def _nanoseconds(times: pd.Series) -> np.ndarray:
    """Return aware times as Unix nanoseconds."""
    return pd.to_datetime(times, utc=True).to_numpy("datetime64[ns]").astype("int64")


def _need(what: str, frame: pd.DataFrame, names: Sequence[str]) -> None:
    missing = [name for name in dict.fromkeys(names) if name not in frame.columns]
    if missing:
        raise MalformedInput(
            f"{what}: no column {', '.join(missing)}",
            hint="the columns are named in configs/features",
        )
