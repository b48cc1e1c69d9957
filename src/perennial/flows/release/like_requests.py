"""Gather the requests of a step from the prediction log, and compare the latencies of like ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from perennial.core.release.analysis.like_requests import TimedRequests, compare_like_requests
from perennial.core.release.phase import Phase
from perennial.core.release.status import ReleaseStatus
from perennial.core.release.traffic import LikeRequests
from perennial.ports import PredictionLog

if TYPE_CHECKING:
    import pandas as pd

MOST = 50_000
"""Requests of a side that are compared: more prove nothing sooner, and a pass must stay quick."""


def like_requests(status: ReleaseStatus, predictions: PredictionLog) -> LikeRequests:
    """Return the comparison of both versions on the requests that they answered in this step.

    In a step that leaves the champion no requests, its answers since the release began are the comparison, as
    they are for the counters.
    """
    alone = status.before is not None
    since = status.started_at if alone else status.entered_at
    log = predictions.timings(status.model, since)
    champion = status.champion.digest if status.champion is not None else ""
    shadow = status.phase is Phase.SHADOW
    candidate = log[
        (log["digest"] == status.candidate.digest)
        & (log["shadow"] == shadow)
        & (log["at"] >= status.entered_at)
    ]
    reference = log[(log["digest"] == champion) & ~log["shadow"].astype(bool)]
    criteria = status.policy.criteria
    return compare_like_requests(criteria, _timed(candidate), _timed(reference))


def _timed(log: pd.DataFrame) -> TimedRequests:
    """Return the requests, thinned evenly where they are many: both sides keep their whole time."""
    log = log.iloc[:: max(1, math.ceil(len(log) / MOST))]
    names = ("by_entity", "rows", "client", "latency_ms")
    operation, rows, client, latency = (log[name].to_numpy() for name in names)
    return TimedRequests(operation.astype(bool), rows, client.astype(str), latency.astype(float))
