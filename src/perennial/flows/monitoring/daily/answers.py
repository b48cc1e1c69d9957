"""The champion's answers to clients of a day: as many as fit into memory, and no client most of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.release.traffic import Target
from perennial.core.spec import ModelSpec
from perennial.flows.monitoring.window import of_requests
from perennial.ports import PredictionLog

if TYPE_CHECKING:
    import pandas as pd

HOUR, HOURS = timedelta(hours=1), 24
MOST_ROWS = 200_000
"""Rows of a day that are checked; of more, each has the same chance."""


@dataclass(frozen=True)
class Answers:
    """Answers of a day.

    Attributes:
        rows: those that are checked, in time order, features under their own names.
        count: all of the day.
    """

    rows: pd.DataFrame
    count: int


def answers_of(spec: ModelSpec, log: PredictionLog, target: Target, begin: datetime) -> Answers:
    """Read a day hour by hour; keep at most MOST_ROWS, and of a client at most its share, both spread over the day."""
    import pandas as pd

    policy, count, every = spec.monitoring, 0, 1
    most = math.ceil(policy.client_share * MOST_ROWS / HOURS)
    parts: list[pd.DataFrame] = []
    for number in range(HOURS):
        since = begin + number * HOUR
        rows = log.read(spec.name, since, until=since + HOUR)
        rows = rows[(rows["digest"] == target.digest) & ~rows["shadow"].astype(bool)]
        count += len(rows)
        # A client that floods an hour must not thin out the others.
        parts.append(_thinned(_of_clients(of_requests(rows, policy), most), every))
        while sum(map(len, parts)) > MOST_ROWS:
            every *= 2
            parts = [_thinned(part, every) for part in parts]
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    if "client" in rows:
        sizes = rows["client"].value_counts().to_numpy()
        least = math.ceil(policy.client_share * policy.window)
        rows = _of_clients(
            rows, most_of_a_client(sizes, int(rows["client"].isna().sum()), policy.client_share, least)
        )
    rows = rows.reset_index(drop=True)
    return Answers(rows.rename(columns=lambda name: name.removeprefix("feature:")), count)


def most_of_a_client(sizes: np.ndarray, others: int, share: float, least: int) -> int:
    """Return the most rows of a client with which none has more than a share of all.

    Args:
        sizes: rows of each client, int [clients].
        others: rows of unknown clients.
        least: what is left to each, as in a window, where there are too few clients for that.
    """
    most = max(least, int(sizes.max(initial=0)))
    while (fewer := max(least, math.floor(share * (np.minimum(sizes, most).sum() + others)))) < most:
        most = fewer
    return most


def _thinned(rows: pd.DataFrame, every: int) -> pd.DataFrame:
    """Keep one of `every` rows, by their ids: the same ones whenever it is done."""
    import pandas as pd

    if every == 1:
        return rows
    chosen: np.ndarray = pd.util.hash_array(rows["prediction_id"].to_numpy(dtype=object)) % every == 0
    return rows.loc[chosen]


def _of_clients(rows: pd.DataFrame, most: int) -> pd.DataFrame:
    """Keep this many rows of each client, evenly over its own."""
    if "client" not in rows:
        return rows
    by_client = rows.groupby("client")["client"]
    number, size = by_client.cumcount(), by_client.transform("size")
    chosen = (number + 1) * most // size > number * most // size
    return rows.loc[rows["client"].isna() | (size <= most) | chosen]
