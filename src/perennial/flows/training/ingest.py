"""Ingest data into the history store and record its source."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Literal

import pandas as pd

from perennial.core.frozen import Frozen
from perennial.errors import ChecksumMismatch, DatasetMissing, UsageError
from perennial.history import builds, iofrol, schema
from perennial.history.datasets import Dataset
from perennial.history.reports.report import Undated
from perennial.history.simulator import SimulationScenario, simulate
from perennial.history.store import HistorySource, HistoryStore

Fetch = Callable[[Dataset], Path]


class IngestResult(Frozen):
    """Result of an ingest."""

    history: str
    source: str
    why: str
    added: int
    retracted: int
    """Executions that stay out: they were taken out of the history before."""
    last_cycle: int | None


def dataset(
    store: HistoryStore,
    history: str,
    entry: Dataset,
    fetch: Fetch,
    now: datetime,
    *,
    from_cycle: int | None = None,
    until_cycle: int | None = None,
    why: str = "asked for by name",
) -> IngestResult:
    """Ingest a catalogue entry; the cycle bounds are inclusive.

    Raises:
        UsageError: the entry is no CI history, or no cycle is within the bounds.
        MalformedInput: a value does not fit, such as a time in the future; names the row.
    """
    if entry.format != "iofrol":
        raise UsageError(f"{entry.name} is no CI history ({entry.format})", hint="iofrol is a CI history")
    frame = iofrol.read(fetch(entry), now)
    low = frame["cycle"].min() if from_cycle is None else from_cycle
    high = frame["cycle"].max() if until_cycle is None else until_cycle
    chosen = frame[frame["cycle"].between(low, high)]
    if chosen.empty:
        raise UsageError(
            f"{entry.name} has no cycle from {low} to {high}",
            hint=f"it has {frame['cycle'].min()} to {frame['cycle'].max()}",
        )
    return _append(store, history, chosen, entry.name, why, now)


def simulation(
    store: HistoryStore,
    history: str,
    scenario: SimulationScenario,
    now: datetime,
    why: str = "asked for by name",
) -> IngestResult:
    """Simulate a history and append it.

    Raises:
        MalformedInput: the scenario reaches into the future.
    """
    source = f"simulator (seed {scenario.seed})"
    frame = schema.conform(simulate(scenario), source, now)
    return _append(store, history, frame, source, why, now)


def junit(
    store: HistoryStore,
    history: str,
    paths: list[Path],
    suite: str,
    by: builds.Grouping,
    undated: Undated,
    now: datetime,
    zone: tzinfo = UTC,
    strict: bool = False,
) -> tuple[IngestResult, builds.JUnitImport]:
    """Import test reports; reports that the history has already are skipped.

    Raises:
        DatasetMissing: no report holds a test that ran, and the history is empty.
        MalformedInput: see `builds.read_builds`.
    """
    # Two imports at once would give two builds the same number.
    with store.importing(history):
        known = store.load(history) if store.exists(history) else schema.empty()
        out = store.taken_out(history)
        read = builds.read_builds(paths, known, suite, by, undated, now, out, zone, strict)
        if read.frame.empty and known.empty and not read.retracted:
            errors = f", {read.suite_errors} suites failed without a test" if read.suite_errors else ""
            raise DatasetMissing(
                f"the {read.reports} reports hold no test that ran ({read.skipped} skipped{errors})",
                hint="give the reports of a build that ran its tests",
            )
        return _append(store, history, read.frame, "junit", "imported reports", now), read


def bootstrap(
    store: HistoryStore,
    history: str,
    source: Literal["auto", "iofrol", "simulator"],
    entry: Dataset,
    fetch: Fetch,
    scenario: SimulationScenario,
    now: datetime,
    until_cycle: int | None = None,
) -> IngestResult:
    """Fill an empty history; a history with data stays unchanged.

    `auto` takes real data if available, else simulated data; the reason is part of the result and of
    SOURCE.json. `until_cycle` bounds real data, inclusive.
    """
    if store.exists(history):
        return _state(store, history, added=0)
    if source == "simulator":
        return simulation(store, history, scenario, now)
    if source == "iofrol":
        return dataset(store, history, entry, fetch, now, until_cycle=until_cycle)
    try:
        return dataset(
            store, history, entry, fetch, now, until_cycle=until_cycle, why="real data could be had"
        )
    except (DatasetMissing, ChecksumMismatch) as error:
        return simulation(store, history, scenario, now, why=f"real data could not be had: {error.message}")


def _append(
    store: HistoryStore, history: str, frame: pd.DataFrame, source: str, why: str, now: datetime
) -> IngestResult:
    retracted = int(frame["execution_id"].isin(store.taken_out(history)["execution_id"]).sum())
    added = store.append(history, frame, HistorySource(source=source, why=why, at=now))
    if not store.exists(history):
        raise DatasetMissing(
            f"everything given was taken out of the history {history!r} before, and stays out",
            hint=f"perennial data log {history} says why; another history takes it: --history NAME",
        )
    return _state(store, history, added, retracted)


def _state(store: HistoryStore, history: str, added: int, retracted: int = 0) -> IngestResult:
    known = store.source(history)
    return IngestResult(
        history=history,
        source=known.source,
        why=known.why,
        added=added,
        retracted=retracted,
        last_cycle=store.last_cycle(history),
    )
