"""The window of predictions that the monitor judges: no request and no client fills it alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from perennial.core.monitoring_spec import MonitoringSpec
from perennial.core.release.traffic import Counters, PoolName, Target
from perennial.core.spec import ModelSpec
from perennial.ports import PredictionLog, Router

if TYPE_CHECKING:
    import pandas as pd

LOOK_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=30))
"""Search ranges, tried in this order until the window is full; older predictions do not describe today."""
LEAST_REQUESTS = 50
"""Requests below which a share of refused requests says nothing."""


@dataclass(frozen=True)
class Window:
    """The newest answered predictions of a version.

    Attributes:
        rows: in time order; the columns are those of the log, features under their own names.
        requests: number of requests in the window.
        unknown: share of the newest predictions without any known feature, which are not in `rows`; None: no
            prediction.
    """

    rows: pd.DataFrame
    requests: int
    unknown: float | None


def read_window(spec: ModelSpec, log: PredictionLog, target: Target, now: datetime) -> Window:
    """Return the newest `monitoring.window` answered predictions of this digest."""
    policy = spec.monitoring
    for back in LOOK_BACK:
        rows = log.read(spec.name, now - back)
        rows = rows[(rows["digest"] == target.digest) & ~rows["shadow"].astype(bool)]
        capped = _capped(rows[~_unknown(rows)], policy)
        if len(capped) >= policy.window:
            break
    # Capped by itself: unknown rows must not take the places of the others in the window, nor one client all of these.
    asked = _capped(rows, policy).tail(policy.window)
    share = float(_unknown(asked).mean()) if len(asked) else None
    newest = capped.tail(policy.window).reset_index(drop=True)
    requests = newest["request_id"].nunique() if "request_id" in newest else len(newest)
    named = newest.rename(columns=lambda name: name.removeprefix("feature:"))
    return Window(named, int(requests), share)


def _unknown(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows have no known feature."""
    features = rows.filter(like="feature:")
    return features.isna().all(axis=1) & bool(features.shape[1])


def _capped(rows: pd.DataFrame, policy: MonitoringSpec) -> pd.DataFrame:
    """Keep the newest rows of each request and of each client up to their caps."""
    if "request_id" in rows:
        rows = rows.loc[rows.groupby("request_id").cumcount(ascending=False).lt(policy.request_rows)]
    if "client" in rows:
        most = math.ceil(policy.client_share * policy.window)
        newer = rows.groupby("client").cumcount(ascending=False)
        rows = rows.loc[rows["client"].isna() | newer.lt(most)]
    return rows


@dataclass
class RefusedTraffic:
    """The share of refused requests between two looks at the router's counters."""

    _before: dict[str, Counters] = field(default_factory=dict)

    def share(self, model: str, router: Router) -> float | None:
        """Return the share of 4xx since the last look; None for too few requests."""
        counters = router.counters(model)
        total = Counters()
        for pool in PoolName:
            total = total.plus(counters.get(pool, Counters()))
        fresh = total.since(self._before.get(model, Counters()))
        if fresh.requests < LEAST_REQUESTS:
            return None
        self._before[model] = total
        return min(1.0, fresh.refused / fresh.requests)
