"""False aborts and false promotions of the shipped release policy, with frequent looks.

Run: python benchmarks/release_verdicts.py [PART ...] [--releases 2000] [--seed 11]     tables (minutes)
     python benchmarks/release_verdicts.py --check HARM          printed chances against the real rules (minutes)

Each part draws releases under one kind of traffic and prints how they end. `--check` judges 2,000 releases with random
arrivals by `judge_traffic`, the function that a release calls, and compares them with `perennial release rehearse`.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from release_parts import dependent, independent, labels
from release_parts.outcome import HEADER, Outcome
from serving_targets.world import processor

from perennial.core.release.analysis.rehearsal import HARMS, HEALTHY

PARTS: dict[str, Callable[[int, int], Iterable[Outcome]]] = {
    "independent": independent.outcomes,
    "dependent": dependent.outcomes,
    "latency": independent.latencies,
    "labels": labels.outcomes,
}
"""Name -> function of the number of releases and the seed."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="default: all")
    parser.add_argument("--releases", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--check", choices=("errors", "latency", "accuracy", "healthy"))
    parser.add_argument("--strategy", choices=("canary", "ab", "blue_green"), default="canary")
    parser.add_argument("--rate", type=float, default=3000)
    parser.add_argument("--error-rate", type=float, default=0.01)
    parser.add_argument("--looks", type=int, default=10)
    parser.add_argument("--step", type=int, help="check only this step; 0 is the shadow")
    asked = parser.parse_args()
    started = time.perf_counter()
    print(f"{processor()}, {os.cpu_count()} cores, {datetime.now(UTC):%Y-%m-%d}; seed {asked.seed}\n")
    if asked.check is None:
        print(HEADER)
        for name in asked.parts or PARTS:
            for outcome in PARTS[name](asked.releases, asked.seed):
                print(outcome, flush=True)
    else:
        harm = dict(zip(("errors", "latency", "accuracy", "healthy"), (*HARMS, HEALTHY), strict=True))[
            asked.check
        ]
        policy = independent.SHIPPED.model_validate(
            independent.SHIPPED.model_dump() | {"strategy": asked.strategy}
        )
        now = independent.traffic(asked.rate, asked.error_rate)
        for text in independent.check(policy, harm, now, asked.releases, asked.looks, asked.step):
            print(text, flush=True)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
