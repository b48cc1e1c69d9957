"""Drift found and false alarms: the shipped monitor beside other detectors, on the same streams.

Run: python benchmarks/drift.py [--seeds 12] [--windows 10] [--only NAME ...] [--without evidently ...]

A window of 1,500 rows follows a reference of 4,000 rows of the same process: in cycles of very different sizes,
whose rows have a common effect that partly persists in the next cycle (`between` is the share of the variance
between cycles), or in single requests that follow each other. Rows named null have no drift: each alarm there is
false. Figures are means over the seeds with the standard deviation between them. `concept` changes the answers and
no input: a detector of inputs has to be silent, and one of errors to speak. An alarm of the monitor is the level
watch or worse. ADWIN (Bifet and Gavalda 2007) and Page-Hinkley get the errors of a model, which needs all labels at
once; they are left out where river is not installed. Evidently's preset judges the first window of a seed.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import scipy.stats

from perennial import catalog
from perennial.core.monitoring.drift import Bins, ColumnDrift, counts, psi, shares
from perennial.core.monitoring.levels import Level, verdict
from perennial.core.monitoring.measured import measure
from perennial.settings import Settings

SPEC = catalog.spec("test_failure_predictor", Settings(spec_overlay=None)).monitoring
REFERENCE, WINDOW, COLUMNS = 4000, 1500, 6
CYCLE_ROWS, LINGERS = 80, 0.4
USUAL_ERRORS, MORE_ERRORS = 0.1, 0.25
WEIGHT = 0.8
"""Of the column that an answer depends on."""


@dataclass
class Stream:
    """Rows of the reference, then of the window.

    Attributes:
        values: float [n, columns].
        cycle: int [n].
        wrong: 0 or 1, [n]: errors of a model whose error rate depends on the first column.
    """

    values: np.ndarray
    cycle: np.ndarray
    wrong: np.ndarray

    @property
    def later(self) -> np.ndarray:
        """Return the rows of the window; changes of it change the stream."""
        return self.values[REFERENCE:]


def cycles(rng: np.random.Generator, between: float = 0.0) -> Stream:
    """Return rows in cycles of 1 to some 1,000 rows."""
    rows = REFERENCE + WINDOW
    sizes = np.maximum(1, rng.lognormal(np.log(CYCLE_ROWS), 1.0, size=rows)).astype(int)
    cycle = np.repeat(np.arange(rows), sizes)[:rows]
    effects = lingering(rng, int(cycle[-1]) + 1, LINGERS)
    values = np.sqrt(between) * effects[cycle] + np.sqrt(1 - between) * rng.normal(size=(rows, COLUMNS))
    return Stream(values, cycle, (rng.random(rows) < USUAL_ERRORS).astype(float))


def requests(rng: np.random.Generator, lingers: float) -> Stream:
    """Return single rows of which each resembles the one before."""
    rows = REFERENCE + WINDOW
    wrong = (rng.random(rows) < USUAL_ERRORS).astype(float)
    return Stream(lingering(rng, rows, lingers), np.arange(rows), wrong)


def lingering(rng: np.random.Generator, count: int, share: float) -> np.ndarray:
    """Return autoregressive values of unit variance, float [count, columns]."""
    values = rng.normal(size=(count, COLUMNS))
    for number in range(1, count):
        values[number] = share * values[number - 1] + np.sqrt(1 - share**2) * values[number]
    return values


def weather(rng: np.random.Generator, drifted: bool) -> Stream:
    """Return Seattle's weather, days drawn in runs of a week; drifted: the window is of summers."""
    from vega_datasets import data

    days = data.seattle_weather()
    numbers = days[["precipitation", "temp_max", "temp_min", "wind"]].to_numpy(dtype=float)
    summer = pd.to_datetime(days["date"]).dt.month.isin([6, 7, 8]).to_numpy()
    weeks = np.arange(len(days) - 7)
    chosen = [rng.choice(weeks, REFERENCE // 7 + 1)]
    chosen.append(rng.choice(weeks[summer[weeks]] if drifted else weeks, WINDOW // 7 + 1))
    rows = [
        (each[:, None] + np.arange(7)).ravel()[:size]
        for each, size in zip(chosen, (REFERENCE, WINDOW), strict=True)
    ]
    cycle = np.arange(REFERENCE + WINDOW) // 7
    wrong = (rng.random(len(cycle)) < USUAL_ERRORS).astype(float)
    return Stream(numbers[np.concatenate(rows)], cycle, wrong)


def changed(
    change: Callable[[np.ndarray, np.random.Generator], None], errors: bool = True
) -> Callable[..., Stream]:
    """Return a stream with a change of the window; errors: the model is wrong more often from its half on."""

    def make(rng: np.random.Generator) -> Stream:
        stream = cycles(rng)
        change(stream.later, rng)
        if errors:
            half = REFERENCE + WINDOW // 2
            stream.wrong[half:] = rng.random(WINDOW // 2) < MORE_ERRORS
        return stream

    return make


def half_sd(rows: np.ndarray, rng: np.random.Generator) -> None:
    rows += 0.5


def sudden(rows: np.ndarray, rng: np.random.Generator) -> None:
    rows[WINDOW // 2 :, 0] += 1


def gradual(rows: np.ndarray, rng: np.random.Generator) -> None:
    rows[:, :2] += np.linspace(0, 1, WINDOW)[:, None]


def recurring(rows: np.ndarray, rng: np.random.Generator) -> None:
    rows[(np.arange(WINDOW) // 150) % 2 == 1] += 1


def local(rows: np.ndarray, rng: np.random.Generator) -> None:
    rows[rows[:, 1] > 0.84, 0] += 2  # of a fifth of the traffic


def regime(rows: np.ndarray, rng: np.random.Generator) -> None:
    """Make the columns depend on each other in the second half, each distributed as before."""
    half = rows[WINDOW // 2 :]
    half[:] = np.sqrt(0.7) * half[:, [0]] + np.sqrt(0.3) * half
    half /= half.std(axis=0)


def prior(rows: np.ndarray, rng: np.random.Generator) -> None:
    """Draw the window from two classes, 1.5 sd apart, of which the rarer one became twice as frequent."""
    rows += np.where(rng.random(WINDOW) < 0.4, 1.5, 0.0)[:, None] * np.array([1, 1, 0, 0, 0, 0])


def unit(rows: np.ndarray, rng: np.random.Generator) -> None:
    rows[:, 0] *= 1000


def missing(rows: np.ndarray, rng: np.random.Generator) -> None:
    rows[rng.random(WINDOW) < 0.15, 0] = np.nan


def nothing(rows: np.ndarray, rng: np.random.Generator) -> None:
    pass


STREAMS: dict[str, Callable[[np.random.Generator], Stream]] = {
    "null: independent rows": cycles,
    "null: cycles, between .3": lambda rng: cycles(rng, 0.3),
    "null: cycles, between .6": lambda rng: cycles(rng, 0.6),
    "null: requests, correlation .8": lambda rng: requests(rng, 0.8),
    "null: weather, weeks": lambda rng: weather(rng, drifted=False),
    "half a sd in all six": changed(half_sd),
    "sudden: 1 sd in one, in half": changed(sudden),
    "gradual: to 1 sd in two": changed(gradual),
    "recurring: 1 sd, 150 of 300": changed(recurring),
    "local: 2 sd in a fifth": changed(local),
    "regime: dependence, in half": changed(regime),
    "prior shift": changed(prior),
    "upstream: unit x1000": changed(unit),
    "upstream: 15 % missing": changed(missing),
    "weather: only summers": lambda rng: weather(rng, drifted=True),
    "concept only": changed(nothing),
}


def ours(stream: Stream) -> bool:
    judged = verdict(SPEC, monitored(stream), None, None, WINDOW)
    return judged.level.rank >= Level.WATCH.rank


def monitored(stream: Stream) -> list[ColumnDrift]:
    """Return the drift that the monitor measures."""
    columns = {
        f"f{place}": (values[:REFERENCE], values[REFERENCE:]) for place, values in enumerate(stream.values.T)
    }
    return measure(columns, stream.cycle[:REFERENCE], stream.cycle[REFERENCE:], SPEC.bins, seed=0)


def plain_psi(stream: Stream) -> bool:
    figures = []
    for values in stream.values.T:
        cut = Bins.of(values[:REFERENCE], SPEC.bins)
        both = (
            shares(counts(cut.codes(part), cut.size)) for part in (values[:REFERENCE], values[REFERENCE:])
        )
        figures.append(psi(*both))
    return max(figures) > SPEC.psi.retrain


def kolmogorov(stream: Stream) -> bool:
    pairs = ((values[:REFERENCE], values[REFERENCE:]) for values in stream.values.T)
    return any(scipy.stats.ks_2samp(*pair, nan_policy="omit").pvalue < 0.05 for pair in pairs)


def evidently_preset(stream: Stream) -> bool:
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    names = [f"f{place}" for place in range(stream.values.shape[1])]
    frames = [pd.DataFrame(part, columns=names) for part in (stream.values[:REFERENCE], stream.later)]
    old, new = (
        Dataset.from_pandas(frame, data_definition=DataDefinition(numerical_columns=names))
        for frame in frames
    )
    report = Report([DataDriftPreset()]).run(current_data=new, reference_data=old)
    drifted = next(
        metric["value"]
        for metric in report.dict()["metrics"]
        if "DriftedColumnsCount" in metric["metric_name"]
    )
    return float(drifted["share"]) >= 0.5


def on_errors(name: str) -> Callable[[Stream], bool]:
    """Return whether a detector of river speaks in the window, after it has seen the errors of the reference."""

    def alarm(stream: Stream) -> bool:
        from river import drift

        detector = getattr(drift, name)()
        spoke = []
        for wrong in stream.wrong:
            detector.update(wrong)
            spoke.append(detector.drift_detected)
        return any(spoke[REFERENCE:])

    return alarm


DETECTORS: dict[str, Callable[[Stream], bool]] = {
    "ours": ours,
    "PSI > .3": plain_psi,
    "KS p < .05": kolmogorov,
    "Evidently": evidently_preset,
    "ADWIN": on_errors("ADWIN"),
    "Page-Hinkley": on_errors("PageHinkley"),
}


def lines(streams: list[str], detectors: list[str], seeds: int, windows: int) -> Iterator[str]:
    """Return a line per stream: share of windows with an alarm in percent, and its spread between seeds."""
    yield "| stream | " + " | ".join(detectors) + " |"
    yield "| --- |" + " --- |" * len(detectors)
    for name in streams:
        alarms: dict[str, list[list[bool]]] = {detector: [] for detector in detectors}
        for seed in range(seeds):
            rng = np.random.default_rng([seed, list(STREAMS).index(name)])
            drawn = [STREAMS[name](rng) for _ in range(windows)]
            for detector in detectors:
                judged = drawn[:1] if detector == "Evidently" else drawn
                alarms[detector].append([DETECTORS[detector](stream) for stream in judged])
        shown = [
            f"{100 * np.mean(each):.1f} ± {100 * np.std([np.mean(seed) for seed in each]):.0f}"
            for each in alarms.values()
        ]
        yield f"| {name} | " + " | ".join(shown) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--windows", type=int, default=10, help="windows per seed")
    parser.add_argument("--only", nargs="*", default=list(STREAMS), choices=list(STREAMS), metavar="NAME")
    parser.add_argument("--without", nargs="*", default=[], choices=list(DETECTORS), metavar="DETECTOR")
    asked = parser.parse_args()
    detectors = [name for name in DETECTORS if name not in asked.without]
    try:
        import river  # noqa: F401
    except ImportError:
        detectors = [name for name in detectors if name not in ("ADWIN", "Page-Hinkley")]
        print("river is not installed: no ADWIN, no Page-Hinkley")
    started = time.process_time()
    print(
        f"{datetime.now(UTC):%Y-%m-%d}, {platform.machine()}, {asked.seeds} seeds of {asked.windows} windows"
    )
    for text in lines(asked.only, detectors, asked.seeds, asked.windows):
        print(text, flush=True)
    print(f"{time.process_time() - started:.0f} s of one core")


if __name__ == "__main__":
    main()
