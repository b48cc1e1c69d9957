"""False drift warnings of months of looks at several models, and the rows that the budget costs.

Run: python benchmarks/drift_warnings.py [--months 10] [--seeds 10] [--seed 1]

Months: each of four models is looked at `LOOKS` times a month; a window of 350 rows moves on by an eighth of itself
between two looks, so that looks overlap. Nothing drifts. A look is false where any column is proven (1 % a look)
or certain (the level of a budget of one a month over all looks of all models).

Rows: two of six columns shift by a standard deviation in the newest rows of a window of 1,500 after a reference of
4,000 (`drift.py`). Share of the seeds that prove both at the effect of a warning, and are certain of both at the level
that 8 and 100 models have with a budget of one a month.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime

import numpy as np
from drift import REFERENCE, SPEC, Stream, cycles, requests

from perennial.core.monitoring.budget.alarm_budget import AlarmBudget
from perennial.core.monitoring.drift import JOINT, ColumnDrift
from perennial.core.monitoring.measured import measure

MODELS, LOOKS, KNOWN, SEEN, COLUMNS = 4, 30, 1000, 350, 3
STEP = SEEN // 8
NEWEST, SHIFT = (125, 187, 375, 750, 1500), 1.0


def stream(rng: np.random.Generator, rows: int, between: float) -> tuple[np.ndarray, np.ndarray]:
    """Return rows in cycles of about 40, each like its neighbour, and the cycle of each."""
    sizes = np.maximum(1, rng.lognormal(np.log(40), 0.7, size=rows)).astype(int)
    cycle = np.repeat(np.arange(rows), sizes)[:rows]
    effects = rng.normal(size=(int(cycle[-1]) + 1, COLUMNS))
    for number in range(1, len(effects)):
        effects[number] = 0.4 * effects[number - 1] + np.sqrt(1 - 0.16) * effects[number]
    own = rng.normal(size=(rows, COLUMNS))
    return np.sqrt(between) * effects[cycle] + np.sqrt(1 - between) * own, cycle


def month(rng: np.random.Generator, between: float) -> tuple[list[bool], list[bool]]:
    """Return for each look of a month at a model whether any column was proven, and certain."""
    values, cycle = stream(rng, KNOWN + SEEN + LOOKS * STEP, between)
    level = 1 / (MODELS * LOOKS)
    proven, certain = [], []
    for look in range(LOOKS):
        rows = slice(KNOWN + look * STEP, KNOWN + look * STEP + SEEN)
        columns = {f"f{place}": (column[:KNOWN], column[rows]) for place, column in enumerate(values.T)}
        drifts = measure(columns, cycle[:KNOWN], cycle[rows], SPEC.bins, seed=look, warn_level=level)
        proven.append(any(drift.is_proven for drift in drifts))
        certain.append(any(drift.is_certain for drift in drifts if drift.column != JOINT))
    return proven, certain


def months(count: int, seed: int) -> None:
    print("| rows | months | warnings a month before | after | months with one before | after |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, between in (("independent", 0.0), ("in cycles, between .3", 0.3)):
        rng = np.random.default_rng([seed, round(10 * between)])
        before, after = np.zeros(count), np.zeros(count)
        for number in range(count):
            for _ in range(MODELS):
                proven, certain = month(rng, between)
                before[number] += begins(proven)
                after[number] += begins(certain)
        print(
            f"| {name} | {count} | {before.mean():.2f} | {after.mean():.2f} | "
            f"{100 * (before > 0).mean():.0f} % | {100 * (after > 0).mean():.0f} % |",
            flush=True,
        )


def begins(found: list[bool]) -> int:
    """Return how many runs of looks with a finding there are: what a person is told of."""
    return int(np.sum(np.diff(np.r_[False, found].astype(int)) == 1))


def warned(make: Callable[[np.random.Generator], Stream], newest: int, seeds: int) -> str:
    """Return the share of seeds that warned at 1 % a look, and at the level of 8 and of 100 models, in percent."""
    levels = [None, *(_budget(count).warn_level for count in (8, 100))]
    drawn = [_drifts(make, SHIFT, newest, seed) for seed in range(seeds)]
    shown = (f"{100 * np.mean([_warns(each, level) for each in drawn]):.0f}" for level in levels)
    return " / ".join(shown)


def _budget(models: int) -> AlarmBudget:
    names = tuple(str(number) for number in range(models))
    return AlarmBudget(alarms_a_month=1, drift_warnings_a_month=1, models=names)


def _drifts(
    make: Callable[[np.random.Generator], Stream], shift: float, newest: int, seed: int
) -> list[ColumnDrift]:
    rng = np.random.default_rng([seed, newest])
    rows = make(rng)
    rows.values[-newest:, :2] += shift
    columns = {
        f"f{place}": (values[:REFERENCE], values[REFERENCE:]) for place, values in enumerate(rows.values.T)
    }
    return measure(
        columns, rows.cycle[:REFERENCE], rows.cycle[REFERENCE:], SPEC.bins, seed=0, warn_level=1e-9
    )


def _warns(drifts: list[ColumnDrift], level: float | None) -> bool:
    moved = [drift for drift in drifts[:2] if drift.excess >= SPEC.psi.warn]
    return len(moved) == 2 and all(level is None or drift.certain_p <= level for drift in moved)


def rows(seeds: int) -> None:
    print("| stream | " + " | ".join(f"{newest} rows" for newest in NEWEST) + " |")
    print("| --- |" + " --- |" * len(NEWEST))
    streams = {
        "independent rows": cycles,
        "requests, correlation .8": lambda rng: requests(rng, 0.8),
        "cycles, between .3": lambda rng: cycles(rng, 0.3),
    }
    for name, make in streams.items():
        print(f"| {name} | {' | '.join(warned(make, newest, seeds) for newest in NEWEST)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--months", type=int, default=10)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    started = time.process_time()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, seed {asked.seed}, {asked.seeds} seeds of rows"
    )
    rows(asked.seeds)
    months(asked.months, asked.seed)
    print(f"{time.process_time() - started:.0f} s of one core")


if __name__ == "__main__":
    main()
