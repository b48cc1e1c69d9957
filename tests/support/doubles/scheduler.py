"""A scheduler that remembers what it was asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from perennial.errors import SchedulerUnavailable


class MemoryScheduler:
    """The Scheduler port: known assets start the DAG of their name, runs stay `queued`.

    Args:
        assets: asset name -> DAG that is scheduled on it.
        dags: DAGs without an asset.
    """

    def __init__(self, assets: Mapping[str, str], dags: Iterable[str] = ()) -> None:
        self._assets = dict(assets)
        self._dags = {*dags, *self._assets.values()}
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.runs: dict[str, list[dict[str, Any]]] = {dag: [] for dag in self._dags}
        self.down = False

    def raise_event(self, asset: str, extra: Mapping[str, Any]) -> None:
        self._reach()
        if asset not in self._assets:
            raise SchedulerUnavailable(f"there is no asset {asset!r}", hint="is its DAG parsed?")
        self.events.append((asset, dict(extra)))
        self.runs[self._assets[asset]].append(dict(extra))

    def trigger(self, dag: str, conf: Mapping[str, Any]) -> str:
        self._reach()
        if dag not in self._dags:
            raise SchedulerUnavailable(f"there is no DAG {dag!r}", hint="is it parsed?")
        self.runs[dag].append(dict(conf))
        return f"run-{len(self.runs[dag])}"

    def state(self, dag: str, run: str) -> str:
        self._reach()
        if dag not in self._dags or run not in {f"run-{n + 1}" for n in range(len(self.runs[dag]))}:
            raise SchedulerUnavailable(f"there is no run {run!r} of {dag!r}", hint="see its page")
        return "queued"

    def _reach(self) -> None:
        if self.down:
            raise SchedulerUnavailable("the scheduler does not answer", hint="start it")
