"""What following the log costs the watch, beside a whole read at each look, and beside Evidently alone on as many rows.

Run: python benchmarks/watch.py [--rows 40000] [--seed 7]   (a minute)

A log of one model, all of the last hour, in requests of 20 rows of 17 features; then ten looks, before each of which it
grew by a hundredth. `watch` follows it for the window alone, `with labels` keeps the answers whose labels may still
come too, `whole` reads the last hour at each look, as the monitor did before. `labels followed` also judges the answers
by labels of nine in ten of them, of which each look reads what was changed; with `labels read whole` a look follows the
log alone and reads all labels of the day from the database, as the monitor did before. Each runs in a process of its
own. What the verdict on the window costs is the same in all and not in these figures; nor is the memory of labels.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from watch_parts.cost import FEATURES, LABELLED, LOOKS, cost, evidently, measure
from watch_parts.plant import utc

KINDS = ("watch", "with labels", "whole", *LABELLED)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, help="measure these alone; all, and Evidently")
    parser.add_argument("--one", choices=KINDS, help="print the figures of one kind, in this process")
    asked = parser.parse_args()
    if asked.one:
        measure(asked.one, asked.rows, asked.seed)
        return
    for kind in asked.kinds or KINDS:
        figures = cost(kind, asked.rows, asked.seed)
        print(
            f"{kind}: {figures['first'] / asked.rows * 1e6:.1f} s CPU per million rows at the first look, "
            f"{1e3 * figures['later']:.0f} ms at a later one of {figures['part']:.0f} new rows; "
            f"{figures['added']:.0f} MB added"
        )
    if not asked.kinds:
        many, window = evidently(asked.rows, asked.seed)
        print(
            f"Evidently alone, {FEATURES} columns: {many / asked.rows * 1e6:.1f} s CPU per million rows, "
            f"{1e3 * window:.0f} ms for a window of 1,500"
        )
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    machine = f"{os.cpu_count()} cores, load {load}, Python {platform.python_version()}"
    print(
        f"{asked.rows} rows, median of {LOOKS} later looks; {utc():%d %B %Y %H:%M} UTC, {machine}, seed {asked.seed}"
    )


if __name__ == "__main__":
    main()
