"""Cost of assigning users instead of requests: CPU time of Envoy per request, with and without.

    python benchmarks/sticky_split.py [--seconds 4] [--rounds 4]

Envoy splits 80 : 20 in front of a second Envoy that answers at once, under wrk's load. The ways alternate in
every round, and the figure is the median ratio to `chance` over the rounds: other load affects all ways.
"""

from __future__ import annotations

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from envoy_split_stack import MODEL, SplitStack, cpu_seconds, split

from perennial.core.release.traffic import Assignment

HEADER = Assignment(experiment="benchmark", header="x-user-id", cookie="unit")
NOBODY = Assignment(experiment="benchmark", header="x-user-id")
WAYS = {
    "chance": (None, ()),
    "header": (HEADER, ("-H", "x-user-id: user-4711")),
    "cookie": (HEADER, ("-H", "cookie: session=abc; unit=0d9e7a3c-7f31-4b7e-8a0e-0123456789ab")),
    "cookie minted": (HEADER, ()),
    "request id": (NOBODY, ()),
}


def measure(stack: SplitStack, way: str, seconds: int) -> tuple[float, float]:
    """Return requests per second, and the CPU time of Envoy per request in microseconds."""
    assignment, options = WAYS[way]
    stack.router.apply(split(20.0, assignment))
    before = cpu_seconds(stack.process)
    url = f"http://127.0.0.1:{stack.port}/v2/models/{MODEL}"
    command = ["wrk", "-t1", "-c16", f"-d{seconds}s", *options, url]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = cpu_seconds(stack.process) - before
    answered = int(re.search(r"(\d+) requests in", output).group(1))
    if "Non-2xx" in output or answered == 0:
        raise SystemExit(output)
    return answered / seconds, used / answered * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=4)
    asked = parser.parse_args()
    measured: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder, SplitStack(Path(folder)) as stack:
        for _ in range(asked.rounds):
            for way, seen in measured.items():
                seen.append(measure(stack, way, asked.seconds))
    print(f"{'way':14} {'req/s':>8} {'CPU us':>8} {'req/s ratio':>12} {'CPU ratio':>10}")
    for way, seen in measured.items():
        rate, cpu = (statistics.median(row[part] for row in seen) for part in (0, 1))
        ratios = [
            statistics.median(
                row[part] / base[part] for row, base in zip(seen, measured["chance"], strict=True)
            )
            for part in (0, 1)
        ]
        print(f"{way:14} {rate:8.0f} {cpu:8.1f} {ratios[0]:12.3f} {ratios[1]:10.3f}")


if __name__ == "__main__":
    main()
