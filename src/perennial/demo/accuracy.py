"""Accuracy of the answers of a demo, by version and over time."""

from __future__ import annotations

from datetime import datetime

import pandas as pd

from perennial.core.tasks.score import POSITIVE


def labelled(log: pd.DataFrame, labels: pd.Series, threshold: float) -> pd.DataFrame:
    """Return the answered predictions with a label in order of time; `right` is 100 or 0.

    Args:
        log: the prediction log; columns at (UTC), version, shadow, prediction_id, score.
        labels: prediction id -> label.
    """
    live = log[~log["shadow"]].merge(labels.rename("label"), left_on="prediction_id", right_index=True)
    live["right"] = ((live["score"] >= threshold) == (live["label"] >= POSITIVE)) * 100.0
    return live.sort_values("at")


def by_stage(known: pd.DataFrame, shift: datetime, first: str, second: str) -> dict[str, float]:
    """Return the accuracy in percent of the first version before and after the shift, and of the second version."""
    shifted = known["at"] >= pd.Timestamp(shift)
    stages = {
        f"{first} before the shift": known[(known["version"] == first) & ~shifted],
        f"{first} after the shift": known[(known["version"] == first) & shifted],
        f"{second} after the retraining": known[known["version"] == second],
    }
    return {name: round(float(rows["right"].mean()), 1) for name, rows in stages.items() if len(rows)}


def rolling(known: pd.DataFrame, window: int) -> pd.DataFrame:
    """Return the rolling accuracy in percent over the last `window` labelled predictions by version."""
    parts = [
        rows.assign(rolling=rows["right"].rolling(window, min_periods=window // 3).mean())
        for _, rows in known.groupby("version")
    ]
    columns = ["second", "version", "rolling"]
    return pd.concat(parts)[columns] if parts else pd.DataFrame(columns=columns)
