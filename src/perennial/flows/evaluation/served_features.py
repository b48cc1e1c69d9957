"""Feature values of logged predictions for a version that may not have answered them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.evaluation.replay_report import SchemaBreak
from perennial.core.feature_spec import FeatureSpec
from perennial.errors import DatasetMissing
from perennial.flows.evaluation.offline_features import OfflineSource, recompute

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ServedFeatures:
    """Feature values of n logged predictions, as served; what the log lacks is recomputed from the history."""

    served: np.ndarray
    """float [n, features], as logged."""
    lacking: np.ndarray
    """bool [n, features]: the version that answered has no such feature."""
    offline: np.ndarray | None
    """float [n, features], recomputed; None where nothing was or could be."""
    joined: np.ndarray
    """bool [n]: the row was recomputed."""
    note: str
    """Why rows, or all, were not recomputed."""
    breaks: tuple[SchemaBreak, ...]
    """Features that the log lacks."""

    @property
    def usable(self) -> np.ndarray:
        """Return whether each row has a value for every feature, bool [n]."""
        if not all(schema_break.recomputed for schema_break in self.breaks):
            return np.zeros(len(self.joined), dtype=bool)
        return self.joined if self.breaks else np.ones(len(self.joined), dtype=bool)

    @property
    def values(self) -> np.ndarray:
        """Return the values to score, float [n, features]; only usable rows are complete."""
        return np.where(self.lacking, self.offline, self.served) if self.offline is not None else self.served


def served_features(
    features: FeatureSpec, log: pd.DataFrame, source: OfflineSource, always_recompute: bool = False
) -> ServedFeatures:
    """Return the values of a version's features in the log.

    Args:
        features: of the version.
        log: as returned by `ports.PredictionLog.read`, index 0 .. n-1.
        always_recompute: also where the log has every feature, to compare both.
    """
    served, lacking = _served(log, features)
    offline, joined, note = None, np.zeros(len(log), dtype=bool), ""
    if always_recompute or lacking.any():
        offline, joined, note = _offline(features, log, source)
    breaks = tuple(_breaks(features, lacking, offline, joined))
    return ServedFeatures(served, lacking, offline, joined, note, breaks)


def _served(log: pd.DataFrame, features: FeatureSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return the logged values, float [n, features], and where they are not in the log, bool [n, features].

    A value is not in the log if the version that answered has no such feature. A value that was unknown at the
    time of the request (NaN) is in the log.
    """
    served = np.full((len(log), len(features.names)), np.nan)
    lacking = np.ones_like(served, dtype=bool)
    known_names = {text: frozenset(json.loads(text)) for text in log["names"].unique()}
    for place, name in enumerate(features.names):
        column = f"feature:{name}"
        if column in log:
            served[:, place] = log[column].to_numpy(dtype=float)
            has = {text: name in names for text, names in known_names.items()}
            lacking[:, place] = ~log["names"].map(has).to_numpy(dtype=bool)
    return served, lacking


def _offline(
    features: FeatureSpec, log: pd.DataFrame, source: OfflineSource
) -> tuple[np.ndarray | None, np.ndarray, str]:
    """Return the recomputed values (None without a history), the joined rows, and a note on missing rows."""
    try:
        values, joined = recompute(features, log, source)
    except DatasetMissing as error:
        return None, np.zeros(len(log), dtype=bool), f"nothing could be recomputed: {error.message}"
    left = int((~joined).sum())
    note = f"{left} rows name no entity or lack a request value" if left else ""
    return values, joined, note


def _breaks(
    features: FeatureSpec, lacking: np.ndarray, offline: np.ndarray | None, joined: np.ndarray
) -> Iterator[SchemaBreak]:
    for place, name in enumerate(features.names):
        if lacking[:, place].any():
            yield SchemaBreak(feature=name, recomputed=offline is not None and bool(joined.any()))
