"""Seconds from a change of the monitor's gauge to the alert in the ledger, through a real Prometheus and Alertmanager.

Run: python benchmarks/alert_latency.py [--models 100]   (some three minutes, mostly waiting)

The generated files are used with the intervals as shipped. Each model's level goes to `retrain` at a random time, which
the exporter shows at its next scrape; the time ends when the receiver has written the message into an SQLite ledger.
Models are groups of their own for Alertmanager, so that they measure independently of each other.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

from perennial import catalog
from perennial.adapters.alerting.receiver import listening
from perennial.adapters.alerting.scraping import ENVOY_PATH, PARTS_PATH, Timing
from perennial.adapters.prometheus.monitor_metrics import MonitorMetrics
from perennial.adapters.sql.store import SqlStore
from perennial.core.monitoring.drift import ColumnDrift
from perennial.core.monitoring.levels import Level, MonitorVerdict
from perennial.flows.monitoring.receive_alerts import AlertRecorder
from perennial.settings import Settings

WORD = "benchmark"
SPREAD_S, PATIENCE_S = 90.0, 120.0
FEATURES = 10


def show(metrics: MonitorMetrics, model: str, level: Level) -> None:
    drifts = tuple(
        ColumnDrift(column=f"f{number}", psi=0.9, allowance=0.25, p=0.0001, level=0.01)
        for number in range(FEATURES)
    )
    verdict = MonitorVerdict(level=level, reasons=("x",), rows=1500, drifts=drifts)
    metrics.show(model, verdict, datetime.now(UTC))


def measured(
    models: list[str], folder: Path, rng: np.random.Generator, asked: argparse.Namespace
) -> Mapping[str, float]:
    """Return the seconds of each model whose message arrived."""
    from alerting.servers import AlertingServers
    from serving_stack import free_ports

    metrics, ledger = MonitorMetrics(), SqlStore(f"sqlite:///{folder / 'ledger.db'}").ledger
    recorder = AlertRecorder(ledger, lambda: models)
    monitor, receiver = free_ports(2)
    arrived: dict[str, float] = {}

    def take(body: bytes) -> bool:
        is_new = recorder.record(body, datetime.now(UTC))
        model = json.loads(body)["groupLabels"].get("model_name", "")
        if model not in arrived:
            arrived[model] = time.monotonic()
            if not asked.keep:
                show(metrics, model, Level.OK)
        return is_new

    for model in models:
        show(metrics, model, Level.OK)
    metrics.serve("127.0.0.1", monitor, WORD, pages=dict.fromkeys((ENVOY_PATH, PARTS_PATH), lambda: b""))
    server = listening("127.0.0.1", receiver, "/alerts", WORD, take)
    Thread(target=server.serve_forever, daemon=True).start()
    for name in ("internal", "alerts"):
        (folder / name).write_text(WORD)
    shipped = catalog.spec("defect_predictor", Settings(spec_overlay=None))
    specs = [shipped.model_copy(update={"name": model}) for model in models]
    changed: dict[str, float] = {}
    with AlertingServers(folder, specs, monitor, receiver, folder, Timing()) as servers:
        servers.wait(lambda: len(servers.query("model_monitor_level")) == len(models), "the first scrape")
        start = time.monotonic()
        for model, after in zip(models, sorted(rng.uniform(0, SPREAD_S, len(models))), strict=True):
            time.sleep(max(0.0, start + after - time.monotonic()))
            show(metrics, model, Level.RETRAIN)
            changed[model] = time.monotonic()
        end = time.monotonic() + PATIENCE_S
        while len(arrived) < len(models) and time.monotonic() < end:
            time.sleep(0.1)
    server.shutdown()
    return {model: arrived[model] - changed[model] for model in models if model in arrived}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", type=int, default=100)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--keep", action="store_true", help="no alert ends: in the end all fire at once")
    asked = parser.parse_args()
    models = [f"model_{number:04d}" for number in range(asked.models)]
    with tempfile.TemporaryDirectory() as folder:
        seconds = measured(models, Path(folder), np.random.default_rng(asked.seed), asked)
    values = np.array(list(seconds.values()))
    quantiles = ", ".join(f"p{share} {np.percentile(values, share):.1f}" for share in (5, 50, 95))
    print(
        f"{len(values)} of {len(models)} messages arrived; seconds: {quantiles}, longest {values.max():.1f}"
    )
    print(f"intervals: {Timing()}; {FEATURES} features per model; seed {asked.seed}")


if __name__ == "__main__":
    main()
