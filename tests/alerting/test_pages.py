"""The monitor's further pages and the ages of features and labels."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import httpx
import pandas as pd
import pytest
from prometheus_client import generate_latest

from perennial import catalog
from perennial.adapters.feast import freshness
from perennial.adapters.prometheus.monitor_metrics import MonitorMetrics
from perennial.adapters.prometheus.pages import AIRFLOW_HEALTH, PartHealth, server
from perennial.core.monitoring.feedback_counts import FeedbackCounts
from perennial.errors import FeaturesUnavailable, RouterUnavailable
from perennial.settings import Settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SPECS = [
    catalog.spec(name, Settings(spec_overlay=None)) for name in ("test_failure_predictor", "defect_predictor")
]
STORED, SENT = SPECS[0].name, SPECS[1].name


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def test_a_page_needs_the_secret_and_tells_when_it_has_nothing():
    def down() -> bytes:
        raise RouterUnavailable("Envoy does not answer", hint="start it")

    metrics, port = MonitorMetrics(), free_port()
    metrics.serve("127.0.0.1", port, "word", pages={"/envoy": lambda: b"x 1\n", "/down": down})
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.get("/envoy").status_code == 403
        bearer = {"authorization": "Bearer word"}
        assert client.get("/envoy", headers=bearer).text == "x 1\n"
        refused = client.get("/down", headers=bearer)
        assert (refused.status_code, refused.text) == (503, "Envoy does not answer\n")
        assert "model_monitor_level" in client.get("/metrics", headers=bearer).text


HEALTH = b'{"scheduler": {"status": "unhealthy"}, "metadatabase": {"status": "healthy"}, "triggerer": null}'


class Airflow(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == AIRFLOW_HEALTH else 404)
        self.end_headers()
        self.wfile.write(HEALTH)

    def log_message(self, *_: object) -> None:
        pass


def test_parts_are_healthy_when_they_say_so():
    fake = HTTPServer(("127.0.0.1", 0), Airflow)
    Thread(target=fake.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{fake.server_port}"
    lines = PartHealth(mlflow=server(address), airflow=server(address)).page().decode().splitlines()
    fake.shutdown()
    assert sorted(line for line in lines if not line.startswith("#")) == [
        'perennial_part_healthy{part="airflow metadatabase"} 1.0',
        'perennial_part_healthy{part="airflow scheduler"} 0.0',
        'perennial_part_healthy{part="airflow"} 1.0',
        'perennial_part_healthy{part="mlflow"} 0.0',
    ]
    gone = PartHealth(mlflow=server(address), airflow=server(f"http://127.0.0.1:{free_port()}"))
    assert 'perennial_part_healthy{part="airflow"} 0.0' in gone.page().decode()


def test_the_age_of_features_is_that_of_the_oldest_view(tmp_path):
    assert freshness.by_model(tmp_path, SPECS) == {}
    columns = dict.fromkeys(("test_execution_features", "agent_context_features"), "at")
    for view, days in (
        ("test_execution_features", 1),
        ("agent_context_features", 3),
        ("test_execution_features", 2),
    ):
        table = pd.DataFrame({"at": pd.to_datetime([NOW - timedelta(days=9), NOW - timedelta(days=days)])})
        freshness.note(tmp_path, {view: table}, columns)
    assert freshness.read(tmp_path)["test_execution_features"] == NOW - timedelta(days=1)
    assert freshness.by_model(tmp_path, SPECS) == {STORED: NOW - timedelta(days=3)}
    (tmp_path / freshness.FILE).write_text("[]")
    with pytest.raises(FeaturesUnavailable):
        freshness.read(tmp_path)


def test_ages_are_exported_and_a_broken_file_costs_one_figure():
    metrics = MonitorMetrics()
    metrics.watch_freshness(lambda: {STORED: NOW})
    for days in (2, 1, 3):
        metrics.received(FeedbackCounts(1, 1, newest_labels={SENT: NOW - timedelta(days=days)}))
    value = metrics.registry.get_sample_value
    assert value("model_newest_feature_timestamp_seconds", {"model_name": STORED}) == NOW.timestamp()
    assert (
        value("model_newest_label_timestamp_seconds", {"model_name": SENT})
        == (NOW - timedelta(days=1)).timestamp()
    )

    def broken() -> dict[str, datetime]:
        raise FeaturesUnavailable("newest.json", hint="publish")

    metrics.watch_freshness(broken)
    page = generate_latest(metrics.registry).decode()
    assert "model_newest_feature_timestamp_seconds{" not in page
    assert "model_newest_label_timestamp_seconds{" in page
