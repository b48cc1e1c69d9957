"""What large numbers cost: versions, releases, models, predictions, feature rows, queued trainings.

Run: python benchmarks/scale.py [PART ...] [--scale 1.0]   (all parts: some minutes; --scale 0.01 shows that they run)

versions: 10,000 versions in MLflow (SQLite) and the ledger of their releases. releases: 1,000 of a model, and the
guard over 1,000 models, without Envoy. log: 1,000,000 predictions of a day. online: 1,000,000 entities of 12 features.
trainings: 100 runs at once with Airflow's own scheduler, in a pool of 3. Everything is in a folder that is deleted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from scale_parts import log, online, releases, trainings, versions
from scale_parts.figures import Figure
from serving_targets.world import processor

PARTS: dict[str, Callable[[Path, float], Iterator[Figure]]] = {
    "versions": lambda folder, scale: versions.figures(folder, int(10_000 * scale)),
    "releases": lambda folder, scale: releases.figures(folder, int(1000 * scale), int(1000 * scale)),
    "log": lambda folder, scale: log.figures(folder, int(1_000_000 * scale)),
    "online": lambda folder, scale: online.figures(folder, int(1_000_000 * scale)),
    "trainings": lambda folder, scale: trainings.figures(folder, int(100 * scale)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the numbers, for a short look")
    asked = parser.parse_args()
    print(f"{processor()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}; scale {asked.scale:g}\n")
    print("| part | what | wall time | processor time | |\n|---|---|---:|---:|---|", flush=True)
    for name in asked.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="perennial-scale-") as place:
            for figure in PARTS[name](Path(place), asked.scale):
                print(
                    f"| {name} | {figure.what} | {figure.wall} | {figure.cpu} | {figure.note} |", flush=True
                )


if __name__ == "__main__":
    main()
