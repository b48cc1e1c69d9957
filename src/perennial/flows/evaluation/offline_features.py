"""Recompute the features of logged predictions from the history, as of the time of each request."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from perennial.core.feature_spec import FeatureSpec
from perennial.errors import DatasetMissing
from perennial.flows.training.point_in_time import as_of
from perennial.flows.training.prepare import Prepared
from perennial.ports import Features

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class OfflineSource:
    """Source of the features for training."""

    features: Features
    history: Callable[[], pd.DataFrame]
    """Loads the history; raises DatasetMissing if there is none."""
    make: Callable[[pd.DataFrame], Prepared]
    """`data.prepare` of the spec."""


def recompute(
    features: FeatureSpec, log: pd.DataFrame, source: OfflineSource
) -> tuple[np.ndarray, np.ndarray]:
    """Join the rows of the log with the history in the same way as training.

    A row is joined at its request value of type timestamp (the event timestamp of training), else at the time
    of the answer. A row without its entity or a request value (a tensor request) cannot be joined.

    Args:
        features: features of a version.
        log: as returned by `ports.PredictionLog.read`, index 0 .. n-1.

    Returns:
        float64 [n, features], NaN where not known, and bool [n], True for joined rows.

    Raises:
        DatasetMissing: there is no history, or the caller sends every input.
    """
    if features.source == "request":
        raise DatasetMissing("the caller sends every input", hint="there is nothing to compute it from")
    rows = request_rows(features, log)
    joinable = rows.drop(columns=list(features.sent)).notna().all(axis=1).to_numpy()
    values = np.full((len(log), len(features.names)), np.nan)
    views = source.make(source.history()).views
    if joinable.any():
        joined = as_of(features, rows[joinable].reset_index(drop=True), source.features, views)
        values[joinable] = joined.to_numpy(dtype=float)
    return values, joinable


def request_rows(features: FeatureSpec, log: pd.DataFrame) -> pd.DataFrame:
    """Return entity keys, request values and event_timestamp of each logged row; missing where not logged."""
    import pandas as pd

    requests = logged_requests(log)
    keys = list(dict.fromkeys([*features.entities, *features.request, *features.sent]))
    rows = pd.DataFrame({key: [request.get(key) for request in requests] for key in keys}, index=log.index)
    for key in features.entities:
        rows[key] = rows[key].map(str, na_action="ignore")
    times = [name for name, kind in features.request.items() if kind == "timestamp"]
    for name in times:
        # Whole milliseconds, as in the history.
        seconds = pd.to_numeric(rows[name], errors="raise").astype(float)
        rows[name] = pd.to_datetime((seconds * 1000).round(), unit="ms", utc=True).astype(
            "datetime64[ns, UTC]"
        )
    moment = rows[times[0]] if times else log["at"]
    return rows.assign(event_timestamp=moment.astype("datetime64[ns, UTC]"))


def logged_requests(log: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the entity keys and request values of each logged row."""
    return [
        {**json.loads(entity), **json.loads(context)}
        for entity, context in zip(log["entity"], log["context"], strict=True)
    ]


def logged_slices(log: pd.DataFrame, columns: Iterable[str]) -> dict[str, np.ndarray]:
    """Return the columns that every logged row names as a key or a request value, texts [n] each."""
    requests = logged_requests(log)
    return {
        column: np.array([str(request[column]) for request in requests])
        for column in columns
        if all(column in request for request in requests)
    }
