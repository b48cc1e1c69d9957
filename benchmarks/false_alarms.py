"""False alarms and detections of the monitor with plain and with calibrated PSI.

Run: python benchmarks/false_alarms.py [--windows 100]   (under a minute on one core)

Rows come in CI cycles of very different sizes. A cycle moves all its rows by a common effect, which partly
persists in the next cycle; `between` is the share of the variance between cycles. A window follows the
reference, from the same process, with or without a lasting shift of all features in standard deviations.
Feature drift is judged by the shipped spec: two columns at 0.3 or more.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import numpy as np

from perennial import catalog
from perennial.core.monitoring.drift import ColumnDrift, column_drift
from perennial.core.monitoring.levels import Level, verdict
from perennial.settings import Settings

SPEC = catalog.spec("test_failure_predictor", Settings(spec_overlay=None)).monitoring
REFERENCE_ROWS = 4000
CYCLE_ROWS = 80
LINGERS = 0.4


def stream(rng: np.random.Generator, between: float, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return features of unit variance, float [rows, columns], and the cycle of each row, int [rows]."""
    sizes = np.maximum(1, rng.lognormal(np.log(CYCLE_ROWS), 1.0, size=rows)).astype(int)
    cycle = np.repeat(np.arange(rows), sizes)[:rows]
    effects = np.empty((cycle[-1] + 1, len(SPEC.columns)))
    before = rng.normal(size=len(SPEC.columns))
    for number in range(len(effects)):
        before = LINGERS * before + np.sqrt(1 - LINGERS**2) * rng.normal(size=len(before))
        effects[number] = before
    own = rng.normal(size=(rows, len(SPEC.columns)))
    return np.sqrt(between) * effects[cycle] + np.sqrt(1 - between) * own, cycle


def compared(rng: np.random.Generator, between: float, window: int, shift: float) -> list[ColumnDrift]:
    """Return the drift of a window that follows its reference."""
    values, cycle = stream(rng, between, REFERENCE_ROWS + window)
    reference, later = values[:REFERENCE_ROWS], values[REFERENCE_ROWS:] + shift
    return [
        column_drift(name, reference[:, j], later[:, j], cycle[:REFERENCE_ROWS], SPEC.bins, seed=0)
        for j, name in enumerate(SPEC.columns)
    ]


def plain(drifts: list[ColumnDrift]) -> list[ColumnDrift]:
    """Return the same figures without their allowance."""
    return [drift.model_copy(update={"allowance": 0.0}) for drift in drifts]


def alarms(drifts: list[ColumnDrift], rows: int) -> bool:
    return verdict(SPEC, drifts, None, None, rows).level is Level.RETRAIN


def lines(windows: int) -> Iterator[str]:
    yield f"{'between':>8} {'window':>7} {'shift':>6} | {'plain':>7} {'calibrated':>10} | median allowance"
    rng = np.random.default_rng(1)
    for between in (0.0, 0.3, 0.6):
        for window in (500, 1500):
            for shift in (0.0, 0.5, 1.0):
                sample = [compared(rng, between, window, shift) for _ in range(windows)]
                shares = [
                    np.mean([alarms(how(drifts), window) for drifts in sample]) for how in (plain, list)
                ]
                allowed = np.median([drift.allowance for drifts in sample for drift in drifts])
                yield (
                    f"{between:8.1f} {window:7d} {shift:6.1f} | {shares[0]:7.1%} {shares[1]:10.1%} | {allowed:.2f}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--windows", type=int, default=100, help="windows per line")
    started = time.perf_counter()
    print("share of windows that request a retraining by feature drift")
    for text in lines(parser.parse_args().windows):
        print(text, flush=True)
    print(f"{time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
