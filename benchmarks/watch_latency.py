"""Seconds from the first shifted request to the alert at a webhook, over many models in one process of the watch.

Run: python benchmarks/watch_latency.py [--models 100] [--shifted 20]   (some ten minutes)

The watch has models of ten watched features each, with the shipped spec (a look every 15 minutes). Each model gets a
request of 20 rows a second; then the features of some models shift, one model after the other. The clock starts with
the first shifted request, and with the one that makes an eighth of the window, which an early look needs; it ends when
the receiver has the message of a real Alertmanager, behind a real Prometheus with the generated files. Router, labels
and scheduler are doubles, log and database are real.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from doubles.feedback import Labels
from doubles.routing import MemoryRouter
from doubles.scheduler import MemoryScheduler
from watch_parts.plant import DIGEST, NAMES, ROWS, Server, utc

from perennial.adapters.alerting.receiver import listening
from perennial.adapters.alerting.scraping import ENVOY_PATH, PARTS_PATH, Timing
from perennial.adapters.evidently_drift import EvidentlyDrift
from perennial.adapters.prometheus.monitor_metrics import MonitorMetrics
from perennial.adapters.sql.store import SqlStore
from perennial.core.assets import retrain_asset
from perennial.core.monitoring.budget.alarm_budget import AlarmBudget
from perennial.core.monitoring.screen import fewest_new
from perennial.core.release.traffic import Route, Target
from perennial.core.spec import ModelSpec
from perennial.flows.monitoring.following.early import EarlyLooks
from perennial.flows.monitoring.following.watched_log import WatchedLog
from perennial.flows.monitoring.monitor import MonitorFolders, MonitorPorts, monitor_model
from perennial.flows.monitoring.receive_alerts import AlertRecorder
from perennial.flows.monitoring.watch import watch
from perennial.serving.following.growing import GrowingPredictionLog
from perennial.serving.prediction_log_reader import PredictionLogReader

WORD = "benchmark"
EVERY_S = 1.0
"""Seconds between two requests of a model."""


@dataclass
class Traffic:
    """A request to each model every second; the features of some shift at their time.

    Attributes:
        shifts: model -> seconds after the first looks at which its features shift.
        looked: time at which the first looks had ended.
        sent: model -> times of its shifted requests.
    """

    servers: Sequence[Server]
    shifts: dict[str, float]
    size: float
    looked: float | None = None
    sent: dict[str, list[float]] = field(default_factory=dict)
    ended: Event = field(default_factory=Event)

    def run(self) -> None:
        begin, seconds = time.monotonic(), 0
        while not self.ended.is_set():
            for server in self.servers:
                model, after = server.spec.name, time.monotonic() - (self.looked or float("inf"))
                has_moved = after >= self.shifts.get(model, float("inf"))
                server.answer(utc(), self.size if has_moved else 0.0)
                if has_moved:
                    self.sent.setdefault(model, []).append(time.monotonic())
            seconds += 1
            self.ended.wait(max(0.0, begin + seconds * EVERY_S - time.monotonic()))


def ports_of(folder: Path, specs: Sequence[ModelSpec], store: SqlStore) -> MonitorPorts:
    """Return what a look at these models needs."""
    names = tuple(spec.name for spec in specs)
    router, watched = MemoryRouter(), WatchedLog(GrowingPredictionLog(folder / "log"))
    for name in names:
        router.apply(Route(model=name, stable=Target(version="1.0.0", digest=DIGEST, release_id="r")))
    return MonitorPorts(
        router=router, registry=SimpleNamespace(find=lambda *_: None), tracker=None,
        predictions=PredictionLogReader(folder / "log"), watched=watched, feedback=Labels(),
        ledger=store.ledger, drift=EvidentlyDrift(),
        scheduler=MemoryScheduler({retrain_asset(name): "train" for name in names}),
        detectors=store.detectors, budget=AlarmBudget(alarms_a_month=1, drift_warnings_a_month=1, models=names),
        early=EarlyLooks(watched),
    )  # fmt: skip


def reference(rng: np.random.Generator) -> pd.DataFrame:
    rows = pd.DataFrame(rng.normal(size=(4000, len(NAMES))), columns=list(NAMES))
    rows["score"], rows["failed"] = rng.random(4000), (rng.random(4000) < 0.3).astype(int)
    return rows.assign(decision=(rows["score"] >= 0.5).astype(int), cycle=np.arange(4000) // ROWS)


def measure(asked: argparse.Namespace, folder: Path) -> None:
    from alerting.servers import AlertingServers
    from serving_stack import free_ports

    rng = np.random.default_rng(asked.seed)
    models = [f"model_{number:04d}" for number in range(asked.models)]
    servers = [Server(folder / "log", model, rng) for model in models]
    specs = [server.spec for server in servers]
    window = specs[0].monitoring.window
    for server in servers:
        server.fill(window, EVERY_S * window / ROWS, utc())
    folders = MonitorFolders(folder / "references", folder / "reports")
    folders.references.mkdir()
    reference(rng).to_parquet(folders.references / f"{DIGEST}.parquet")
    store, metrics = SqlStore(f"sqlite:///{folder / 'state.db'}"), MonitorMetrics()
    ports, recorder = ports_of(folder, specs, store), AlertRecorder(store.ledger, lambda: models)
    shifted = rng.choice(models, asked.shifted, replace=False)
    shifts = {str(model): number * asked.apart for number, model in enumerate(shifted)}
    traffic = Traffic(servers, shifts, asked.shift)
    arrived: dict[str, float] = {}
    looks: list[float] = []

    def take(body: bytes) -> bool:
        is_new = recorder.record(body, utc())
        arrived.setdefault(json.loads(body)["groupLabels"].get("model_name", ""), time.monotonic())
        return is_new

    def look(spec: ModelSpec):
        begin = time.thread_time()
        result = monitor_model(spec, ports, folders, utc())
        looks.append(time.thread_time() - begin)
        if len(looks) == len(models):
            traffic.looked = time.monotonic()
        return result

    def wait(seconds: float) -> bool:
        traffic.ended.wait(seconds)
        most = asked.shifted * asked.apart + asked.patience
        is_late = traffic.looked is not None and time.monotonic() > traffic.looked + most
        return is_late or shifts.keys() <= arrived.keys()

    monitor, receiver = free_ports(2)
    metrics.serve("127.0.0.1", monitor, WORD, pages=dict.fromkeys((ENVOY_PATH, PARTS_PATH), lambda: b""))
    webhook = listening("127.0.0.1", receiver, "/alerts", WORD, take)
    Thread(target=webhook.serve_forever, daemon=True).start()
    for name in ("internal", "alerts"):
        (folder / name).write_text(WORD)
    early = ports.early
    assert early is not None
    with AlertingServers(folder, specs, monitor, receiver, folder, Timing()):
        Thread(target=traffic.run, daemon=True).start()
        start = time.process_time()
        watch(
            specs, look, metrics, lambda text: None, time.monotonic, wait,
            lambda spec: early.due(spec, utc()),
        )  # fmt: skip
        used = time.process_time() - start
    traffic.ended.set()
    webhook.shutdown()
    needed = -(-fewest_new(window) // ROWS)
    show("first shifted request", 0, traffic, arrived)
    show("request that makes an eighth of the window", needed - 1, traffic, arrived)
    unmoved = arrived.keys() - traffic.sent.keys() - {""}
    print(
        f"{len(looks)} looks of {np.median(looks):.2f} s CPU; alerts of models that did not shift: {len(unmoved)}"
    )
    answered = sum(server.sent for server in servers) * ROWS
    print(
        f"{used:.0f} s CPU of the process, its traffic included; {answered} rows; shift of {asked.shift} sd"
    )


def show(since: str, place: int, traffic: Traffic, arrived: dict[str, float]) -> None:
    """Print the seconds from a shifted request of each model to the alert."""
    waited = [
        arrived[model] - times[place]
        for model, times in traffic.sent.items()
        if model in arrived and len(times) > place
    ]
    shares = (
        ", ".join(f"p{share} {np.percentile(waited, share):.1f}" for share in (5, 50, 95))
        if waited
        else "none"
    )
    longest = f", longest {max(waited):.1f} s" if waited else ""
    print(f"from the {since}: {shares}{longest}; {len(waited)} of {len(traffic.shifts)} arrived")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--shifted", type=int, default=20)
    parser.add_argument("--apart", type=float, default=10.0, help="seconds between two shifts")
    parser.add_argument("--patience", type=float, default=120.0, help="seconds after the last shift")
    parser.add_argument("--shift", type=float, default=1.0, help="standard deviations of each feature")
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(asked, Path(folder))
    load = ", ".join(f"{each:.1f}" for each in os.getloadavg())
    machine = f"{os.cpu_count()} cores, load {load}, Python {platform.python_version()}"
    print(f"{asked.models} models; {utc():%d %B %Y %H:%M} UTC, {machine}, seed {asked.seed}")


if __name__ == "__main__":
    main()
