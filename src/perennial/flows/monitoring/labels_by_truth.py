"""Count labelled requests within each truth and by group, for `core.release.analysis.within_truth`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import numpy as np

from perennial.core.release.label_counts import TIME, Bucket, TruthCounts
from perennial.flows.monitoring.truths import OTHER, Truths

if TYPE_CHECKING:
    import pandas as pd

SLICES = 20
"""Slices of time, with about as many requests in each."""
PARTS = 40
"""Parts into which users or groups are put by a hash."""
UNIT = "user"
DIGITS = 6


def grouped(log: pd.DataFrame, group: str | None) -> pd.DataFrame:
    """Return a log with a column per way of grouping its requests, the bucket of each row (-1: not known).

    Args:
        group: name of a request value, key of the entity or feature that a group of requests shares.
    """
    asked = log["at"].astype("datetime64[ns, UTC]").astype("int64").to_numpy()
    levels = np.arange(1, SLICES) / SLICES
    edges = np.unique(np.quantile(asked, levels)) if len(asked) else asked
    buckets = {f"group:{TIME}": np.searchsorted(edges, asked, side="left")}
    if "unit" in log and log["unit"].notna().any():
        buckets[f"group:{UNIT}"] = _parts(log["unit"])
    if group is not None:
        buckets[f"group:{group}"] = _parts(values_named(log, group))
    return log.assign(**buckets)


def weighed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of a version with the column `weight`: the rows of a request have the sum 1."""
    return rows.assign(weight=1.0 / rows.groupby("request_id")["prediction_id"].transform("size"))


def answered(rows: pd.DataFrame, truths: Truths) -> dict[str, float]:
    """Return the requests of a version by answer.

    Args:
        rows: of `weighed`, labelled or not.
    """
    by_answer = rows.groupby(truths.of_answers(rows))["weight"].sum()
    return {str(name): round(float(count), DIGITS) for name, count in by_answer.items()}


def by_truth(rows: pd.DataFrame, truths: Truths) -> dict[str, TruthCounts]:
    """Count the labelled requests of a version within each truth.

    Args:
        rows: votes about rows of `weighed`, with the columns right and loss.
    """
    counts = {name: TruthCounts() for name in truths.names}
    if rows.empty:
        return counts
    shares = rows["weight"] / rows.groupby("prediction_id")["prediction_id"].transform("size")
    rows = rows.assign(
        truth=truths.of_labels(rows),
        answer=truths.of_answers(rows),
        share=shares,
        wrong=shares * (1.0 - rows["right"]),
    )
    for name, part in rows[rows["truth"] != OTHER].groupby("truth"):
        by_answer = part.groupby("answer")["share"].sum()
        loss = part.groupby("request_id")["loss"].mean()
        loss = loss[np.isfinite(loss.to_numpy(dtype=float))]
        counts[str(name)] = TruthCounts(
            requests=round(float(part["share"].sum()), DIGITS),
            wrong=round(min(float(part["wrong"].sum()), float(part["share"].sum())), DIGITS),
            answers={str(answer): round(float(count), DIGITS) for answer, count in by_answer.items()},
            losses=len(loss),
            loss=float(loss.sum()),
            squares=float((loss**2).sum()),
            groups=_groups(part),
        )
    return counts


def _groups(part: pd.DataFrame) -> dict[str, tuple[Bucket, ...]]:
    ways = [column for column in part.columns if column.startswith("group:")]
    by_request = part.groupby("request_id").agg(
        {"share": "sum", "wrong": "sum", "loss": "mean", **dict.fromkeys(ways, "first")}
    )
    by_request["has_loss"] = np.isfinite(by_request["loss"].to_numpy(dtype=float))
    by_request["loss"] = by_request["loss"].where(by_request["has_loss"], 0.0)
    buckets = {}
    for way in ways:
        known = by_request[by_request[way] >= 0]
        size = SLICES if way == f"group:{TIME}" else PARTS
        sums = [
            np.bincount(known[way].to_numpy(), known[column].to_numpy(dtype=float), size)
            for column in ("share", "wrong", "has_loss", "loss")
        ]
        buckets[way.removeprefix("group:")] = tuple(
            (
                round(float(share), DIGITS),
                round(float(wrong), DIGITS),
                round(float(losses), DIGITS),
                round(float(loss), DIGITS),
            )
            for share, wrong, losses, loss in zip(*sums, strict=True)
        )
    return buckets


def _parts(values: pd.Series[Any]) -> np.ndarray:
    """Return the part of each value by its hash; -1 where it is missing."""
    places = {
        value: int.from_bytes(sha256(str(value).encode()).digest()[:4]) % PARTS
        for value in values.dropna().unique()
    }
    return values.map(places).fillna(-1).to_numpy(dtype=int)


def values_named(log: pd.DataFrame, name: str) -> pd.Series[Any]:
    """Return the value with a name of each row: of a feature, else of the request, else of the entity."""
    feature = f"feature:{name}"
    if feature in log:
        return log[feature]
    import pandas as pd

    texts = [log[column] for column in ("context", "entity") if column in log]
    values = pd.Series(None, index=log.index, dtype=object)
    for text in texts:
        values = values.where(values.notna(), text.map(lambda value: _read(value).get(name)))
    return values


def _read(text: str) -> Mapping[str, Any]:
    content = json.loads(text) if isinstance(text, str) and text else {}
    return content if isinstance(content, dict) else {}
