"""Window features of a million rows over a million events: seconds and peak memory.

python benchmarks/windows.py [--rows 1000000] [--entities 10000]
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import pandas as pd

from perennial.adapters.feast.windows import window_columns
from perennial.core.feature_view import ViewSpec

VIEW = ViewSpec.model_validate(
    {
        "name": "payments",
        "description": "",
        "entity": "client",
        "times": {"event": "at", "created": None},
        "ttl": None,
        "columns": {"amount": "float"},
        "source": None,
        "windows": [
            {"column": "amount", "functions": ["mean", "last"], "over": ["PT1H", "P7D", "P30D"]},
            {"column": None, "functions": ["count", "rate", "time_since"], "over": ["PT1H", "P7D", "P30D"]},
        ],
    }
)


def made(rows: int, entities: int, seed: int) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    seconds = random.integers(0, 365 * 86_400, rows)
    return pd.DataFrame(
        {
            "client": random.integers(0, entities, rows).astype(str),
            "at": pd.Timestamp("2024-01-01", tz="UTC") + pd.to_timedelta(seconds, unit="s"),
            "amount": random.normal(size=rows),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--entities", type=int, default=10_000)
    given = parser.parse_args()
    events, rows = made(given.rows, given.entities, 1), made(given.rows, given.entities, 2)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, processor = time.perf_counter(), time.process_time()
    names = [feature.name for feature in VIEW.window_features]
    found = window_columns(VIEW, names, events, rows, "at")
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(
        f"{len(names)} features of {given.rows} rows over {given.rows} events of {given.entities} entities: "
        f"{seconds:.1f} s ({processor:.1f} s of processor time on 2 threads), "
        f"peak {peak / 2**20:.2f} GiB (data before: {before / 2**20:.2f} GiB); "
        f"mean count of 30 days: {found['count_30d'].mean():.2f}"
    )


if __name__ == "__main__":
    main()
