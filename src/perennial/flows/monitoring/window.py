"""The window of predictions that the monitor judges: no request and no client fills it alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

from perennial.core.monitoring_spec import MonitoringSpec
from perennial.core.release.traffic import Counters, PoolName
from perennial.ports import Router

if TYPE_CHECKING:
    import pandas as pd

LOOK_BACK = (timedelta(hours=1), timedelta(days=1), timedelta(days=7), timedelta(days=30))
"""Ranges of a search, each tried where the one before was not enough; older predictions do not describe today."""
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


def window_of(rows: pd.DataFrame, policy: MonitoringSpec) -> Window:
    """Return the newest `monitoring.window` of these answered predictions of a version.

    Args:
        rows: in time order.
    """
    newest = _capped(rows[~_unknown(rows)], policy).tail(policy.window).reset_index(drop=True)
    # Capped by itself: unknown rows must not take the places of the others in the window, nor one client all of these.
    asked = _capped(rows, policy).tail(policy.window)
    share = float(_unknown(asked).mean()) if len(asked) else None
    requests = newest["request_id"].nunique() if "request_id" in newest else len(newest)
    named = newest.rename(columns=lambda name: name.removeprefix("feature:"))
    return Window(named, int(requests), share)


def may_be_judged(rows: pd.DataFrame, policy: MonitoringSpec) -> pd.Series[bool]:
    """Return which rows a window has, or can have after others have come, whatever their times are."""
    parts = (_capped(rows[~_unknown(rows)], policy), _capped(rows, policy))
    kept = [part.index[-policy.window :] for part in parts]
    return rows.index.to_series().isin(kept[0].union(kept[1]))


def _unknown(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows have no known feature."""
    features = rows.filter(like="feature:")
    return features.isna().all(axis=1) & bool(features.shape[1])


def _capped(rows: pd.DataFrame, policy: MonitoringSpec) -> pd.DataFrame:
    """Keep the newest rows of each request and of each client up to their caps."""
    rows = of_requests(rows, policy)
    if "client" in rows:
        most = math.ceil(policy.client_share * policy.window)
        newer = rows.groupby("client").cumcount(ascending=False)
        rows = rows.loc[rows["client"].isna() | newer.lt(most)]
    return rows


def of_requests(rows: pd.DataFrame, policy: MonitoringSpec) -> pd.DataFrame:
    """Keep the newest rows of each request up to `monitoring.request_rows`."""
    if "request_id" not in rows:
        return rows
    # A client that uses the ids of another's requests takes no place of theirs.
    has_client = "client" in rows
    request = [rows["request_id"], rows["client"].fillna("")] if has_client else [rows["request_id"]]
    return rows.loc[rows.groupby(request).cumcount(ascending=False).lt(policy.request_rows)]


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
