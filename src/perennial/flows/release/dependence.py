"""Gather how far a champion's requests depend on each other: latencies from the log, errors from earlier releases."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.release.analysis.traffic_profile import Dependence
from perennial.core.release.counted.slices import SPELL
from perennial.core.release.counted.user_buckets import OF_USERS
from perennial.core.release.status import ReleaseStatus

if TYPE_CHECKING:
    import pandas as pd

UNKNOWN_USERS = 100_000
"""Users of whom only is known that they do not differ."""


def observed_dependence(log: pd.DataFrame, earlier: Iterable[ReleaseStatus]) -> Dependence:
    """Return the dependence of the champion's requests.

    Args:
        log: a row for each request, as the prediction log has them.
        earlier: releases, the newest first.
    """
    known = (release.dependence for release in earlier if release.dependence is not None)
    measured = next((value for value in known if value.by_time is not None), None)
    users, spread = _users(log), 0.0
    if measured is not None and measured.user_variance is not None:
        # Without their number the users are counted as if their rates were exponential.
        exponential = (
            UNKNOWN_USERS if not measured.user_variance else max(1, round(1 / measured.user_variance))
        )
        users = users or exponential
        spread = math.sqrt(measured.user_variance * users)
    return Dependence(
        error_burst=1.0 if measured is None else measured.error_burst,
        users=users,
        user_spread=spread,
        latency_time_sd=_spread(log, log["at"].dt.floor(SPELL)),
        latency_user_sd=0.0 if _users(log) is None else _spread(log, log["unit"]),
        measured=measured is not None,
    )


def _users(log: pd.DataFrame) -> int | None:
    """Return the number of users in the log; None where most requests are of no known one."""
    named = log["unit"].fillna("").astype(str)
    named = named[named != ""]
    return int(named.nunique()) if len(named) >= OF_USERS * len(log) and len(named) else None


def _spread(log: pd.DataFrame, group: pd.Series) -> float:
    """Return the standard deviation of mean log latency between groups, beyond that of independent requests."""
    values = log["latency_ms"].astype(float).clip(lower=1e-3).transform(np.log)
    groups = values.groupby(group.to_numpy())
    sizes, means = groups.size(), groups.mean()
    if len(sizes) < 2 or len(values) <= len(sizes):
        return 0.0
    within = float(((values - groups.transform("mean")) ** 2).sum() / (len(values) - len(sizes)))
    between = float((sizes * (means - values.mean()) ** 2).sum() / (len(sizes) - 1))
    size = (len(values) - float((sizes**2).sum()) / len(values)) / (len(sizes) - 1)
    return math.sqrt(max(0.0, (between - within) / size))
