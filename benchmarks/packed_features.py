"""What packed feature values cost when they are written, and give when they are read, beside a value per feature.

Run: python benchmarks/packed_features.py [--entities 20000] [--cycles 3]   (about two minutes)

The features of `test_failure_predictor` (12 of a test, 3 of a suite, 3 on demand) are published to Feast's SQLite, to
the packed SQLite and, with a `redis-server`, to the packed Redis. Processor time is that of this process, and of Redis
for Redis; the first publication warms up Feast and is not counted. Then a hundred entities are read at once, in this
process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from online_stores.redis_server import PROGRAM, RedisServer
from serving_targets.world import MODEL, processor

from perennial import catalog
from perennial.adapters.feast.features import FeastFeatures
from perennial.history.prepare import prepare
from perennial.history.simulator import SimulationScenario, simulate
from perennial.installation import HERE
from perennial.serving.online_features import OnlineFeatures

PACKED = "perennial.serving.online.packed.PackedSqliteOnlineStore"
READS = 200


def repository(folder: Path, kind: str) -> Path:
    """Return a copy of the project's feature repository with another online store."""
    shutil.copytree(HERE / "configs" / "features", folder / "configs" / "features")
    shutil.copytree(HERE / "feature_repo", folder / "feature_repo")
    path = folder / "feature_repo" / "feature_store.yaml"
    path.write_text(path.read_text().replace(PACKED, kind))
    return folder / "feature_repo"


def measured(
    name: str,
    features: FeastFeatures,
    views: dict[str, pd.DataFrame],
    reader: Callable[[], OnlineFeatures],
    size: Callable[[], float],
    elsewhere: Callable[[], float] = lambda: 0.0,
) -> None:
    """Publish twice, read, and print the second publication and the fastest block of reads."""
    features.publish({view: table.iloc[:100] for view, table in views.items()})
    before = time.process_time() + elsewhere()
    features.publish(views)
    seconds = time.process_time() + elsewhere() - before
    tests = views["test_execution_features"]["test_id"].unique()
    given = {
        "test_id": np.random.default_rng(0).choice(tests, 100, replace=False).tolist(),
        "suite": ["ci"] * 100, "cycle_size": [50] * 100, "requested_at": [1.8e9] * 100,
    }  # fmt: skip
    values, service = reader(), catalog.spec(MODEL).features.service or ""
    times = []
    for _ in range(10):
        started = time.process_time()
        for _ in range(READS // 10):
            values.columns(service, given)
        times.append((time.process_time() - started) / (READS // 10))
    print(f"| {name} | {seconds:.1f} | {size() / 1e6:.1f} | {min(times) * 1000:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--entities", type=int, default=20_000)
    parser.add_argument("--cycles", type=int, default=3)
    asked = parser.parse_args()
    views = dict(prepare(simulate(SimulationScenario(cycles=asked.cycles, tests=asked.entities))).views)
    entities = views["test_execution_features"]["test_id"].nunique()
    print(
        f"{processor()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}; {entities:,} tests, 12 features"
    )
    print("| online store | publication, CPU s | MB | 100 entities, CPU ms |\n|---|---:|---:|---:|")
    spec = catalog.spec(MODEL)
    with tempfile.TemporaryDirectory() as place, ExitStack() as stack:
        for name, kind in (("Feast's SQLite", "sqlite"), ("packed SQLite", PACKED)):
            folder = Path(place) / kind.rpartition(".")[2]
            state = folder / "feast"
            features = FeastFeatures(repository(folder, kind), state, lambda: [spec])
            measured(
                name,
                features,
                views,
                lambda state=state: OnlineFeatures(state),
                lambda state=state: sum(file.stat().st_size for file in state.glob("online.db*")),
            )
        if PROGRAM is None:
            return
        folder = Path(place) / "redis"
        state = folder / "feast"
        features_of_redis = repository(folder, PACKED)
        server = RedisServer(folder)
        stack.callback(server.stop)
        client = stack.enter_context(server.client())
        features = FeastFeatures(features_of_redis, state, lambda: [spec], online_store=server.url)
        measured(
            "packed Redis",
            features,
            views,
            lambda: OnlineFeatures(state, online_store=server.url),
            lambda: float(client.info("memory")["used_memory_dataset"]),
            lambda: float(client.info("cpu")["used_cpu_user"]) + float(client.info("cpu")["used_cpu_sys"]),
        )


if __name__ == "__main__":
    main()
