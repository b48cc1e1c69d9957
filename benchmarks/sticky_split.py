"""Cost of assigning users instead of requests, with the log of their buckets: CPU time of Envoy per request.

    python benchmarks/sticky_split.py [--requests 4000] [--rounds 6]

Envoy splits 80 : 20 in front of a second Envoy that answers at once. The ways alternate in every round, and the figure
is the median ratio to `chance`, which has neither hash nor log, over the rounds: other load affects all ways.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from envoy_split_stack import SplitStack, cpu_seconds, split

from perennial.core.release.traffic import Assignment

HEADER = Assignment(experiment="benchmark", header="x-user-id", cookie="unit")
NOBODY = Assignment(experiment="benchmark", header="x-user-id")
WAYS = {
    "chance": (None, {}),
    "header": (HEADER, {"x-user-id": "user-4711"}),
    "cookie": (HEADER, {"cookie": "session=abc; unit=0d9e7a3c-7f31-4b7e-8a0e-0123456789ab"}),
    "cookie minted": (HEADER, {}),
    "request id": (NOBODY, {}),
}


def measure(stack: SplitStack, way: str, requests: int) -> float:
    """Return the CPU time of Envoy per request in microseconds."""
    assignment, sent = WAYS[way]
    stack.router.apply(split(20.0, assignment))
    stack.ask([sent] * 200)
    before = cpu_seconds(stack.process)
    stack.ask([sent] * requests)
    return (cpu_seconds(stack.process) - before) / requests * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--rounds", type=int, default=6)
    asked = parser.parse_args()
    measured: dict[str, list[float]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, SplitStack(Path(folder)) as stack:
        for _ in range(asked.rounds):
            for way, seen in measured.items():
                seen.append(measure(stack, way, asked.requests))
    print(f"{'way':14} {'CPU us':>8} {'ratio':>7} {'from':>7} {'to':>7}")
    for way, seen in measured.items():
        ratios = [cpu / base for cpu, base in zip(seen, measured["chance"], strict=True)]
        middle = statistics.median(ratios)
        print(f"{way:14} {statistics.median(seen):8.1f} {middle:7.2f} {min(ratios):7.2f} {max(ratios):7.2f}")


if __name__ == "__main__":
    main()
