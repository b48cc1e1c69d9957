"""The features of logged predictions, computed anew from the history as of their time."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.spec import FeatureSpec
from perennial.flows.training.prepare import Prepared
from perennial.ports import Features

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class OfflineSource:
    """Where training takes its features from."""

    features: Features
    history: Callable[[], pd.DataFrame]
    """Raises DatasetMissing when there is none."""
    make: Callable[[pd.DataFrame], Prepared]
    """The spec's `data.prepare`."""


def recompute(wanted: FeatureSpec, log: pd.DataFrame, source: OfflineSource) -> tuple[np.ndarray, np.ndarray]:
    """Join the rows of the log with the history as training would.

    A row is joined at the request value that is a timestamp (what training calls the time of the example),
    else at the time when it was answered. A row without its entity or without a request value (asked by
    tensor, or logged before request values were kept) cannot be joined.

    Args:
        wanted: the features of one version.
        log: as `ports.PredictionLog.read` gives it, index 0 .. n-1.

    Returns:
        float64 [n, features], NaN where not known, and bool [n], the rows that could be joined.

    Raises:
        DatasetMissing: there is no history.
    """
    rows = request_rows(wanted, log)
    joinable = rows.notna().all(axis=1).to_numpy()
    values = np.full((len(log), len(wanted.columns)), np.nan)
    views = source.make(source.history()).views
    if joinable.any():
        joined = source.features.join(wanted, rows[joinable].reset_index(drop=True), views)
        values[joinable] = joined[list(wanted.names)].to_numpy(dtype=float)
    return values, joinable


def request_rows(wanted: FeatureSpec, log: pd.DataFrame) -> pd.DataFrame:
    """What each logged row asked: entity keys, request values, event_timestamp; missing where not logged."""
    import pandas as pd

    asked = [
        {**json.loads(entity), **json.loads(context)}
        for entity, context in zip(log["entity"], log["context"], strict=True)
    ]
    keys = list(dict.fromkeys([*wanted.entities, *wanted.request]))
    rows = pd.DataFrame({key: [one.get(key) for one in asked] for key in keys}, index=log.index)
    for key in wanted.entities:
        rows[key] = rows[key].map(str, na_action="ignore")
    times = [name for name, kind in wanted.request.items() if kind == "timestamp"]
    for name in times:
        # Whole milliseconds, as the history keeps them.
        seconds = pd.to_numeric(rows[name], errors="raise").astype(float)
        rows[name] = pd.to_datetime((seconds * 1000).round(), unit="ms", utc=True).astype(
            "datetime64[ns, UTC]"
        )
    moment = rows[times[0]] if times else log["at"]
    return rows.assign(event_timestamp=moment.astype("datetime64[ns, UTC]"))
