"""The `prepare` entrypoint of models over a CI history: makes feature tables and examples."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from perennial.errors import DataError
from perennial.history import features

TEST_VIEW = "test_execution_features"
SUITE_VIEW = "agent_context_features"


@dataclass(frozen=True)
class Prepared:
    """Input of a training; only a point-in-time join combines features and examples."""

    views: dict[str, pd.DataFrame]
    """Feature view -> state rows: entity key, event_timestamp, created_timestamp, features."""
    examples: pd.DataFrame
    """Entity keys, cycle, event_timestamp, request values, target and slices; in time order."""


def prepare(history: pd.DataFrame) -> Prepared:
    """Compute every feature view and the examples of a history (columns: `perennial.history.schema`).

    Raises:
        DataError: the history is empty.
    """
    if history.empty:
        raise DataError("the CI history is empty", hint="perennial data bootstrap, or perennial data --help")
    return Prepared(
        views={TEST_VIEW: features.test_features(history), SUITE_VIEW: features.suite_features(history)},
        examples=features.examples(history),
    )
