"""A million entities materialised to the online store, packed."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from packed_features import PACKED, repository
from serving_targets.world import MODEL

from perennial import catalog
from perennial.adapters.feast.features import FeastFeatures
from perennial.history.prepare import prepare
from perennial.history.simulator import SimulationScenario, simulate
from perennial.serving.online_features import OnlineFeatures
from scale_parts.figures import Figure, repeated, timed

VIEW = "test_execution_features"


def figures(folder: Path, rows: int) -> Iterator[Figure]:
    views = dict(prepare(simulate(SimulationScenario(cycles=3, tests=1000))).views)
    views[VIEW] = _many(views[VIEW], rows)
    spec, state = catalog.spec(MODEL), folder / "state"
    features = FeastFeatures(repository(folder, PACKED), state, lambda: [spec])
    yield timed(
        f"publish {rows:,} entities of 12 features",
        lambda: features.publish(views),
        lambda _: (
            f"{sum(f.stat().st_size for f in state.glob('online.db*')) / 1e6:.0f} MB, "
            f"at most {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB of memory"
        ),
    )
    reader, random = OnlineFeatures(state), np.random.default_rng(0)

    def read() -> None:
        given = {
            "test_id": [f"t{number}" for number in random.integers(0, rows, 100)],
            "suite": ["ci"] * 100, "cycle_size": [50] * 100, "requested_at": [1.8e9] * 100,
        }  # fmt: skip
        reader.columns(spec.features.service or "", given)

    read()
    yield repeated("read 100 entities, p50 / p99", [read] * 200)


def _many(table: pd.DataFrame, rows: int) -> pd.DataFrame:
    """Return a row of values for each of so many tests, with the values of the tests that there are."""
    values = table.iloc[np.arange(rows) % len(table)].reset_index(drop=True)
    return values.assign(test_id=[f"t{number}" for number in range(rows)])
