"""A real Prometheus and Alertmanager over the monitor's pages and a real Envoy; the messages come into a ledger."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import httpx
import pytest
from alerting.servers import AlertingServers
from envoy_split_stack import INFER, MODEL, SplitStack
from serving_stack import free_ports

from perennial import catalog
from perennial.adapters.alerting.receiver import listening
from perennial.adapters.alerting.scraping import ENVOY_PATH, PARTS_PATH, Timing
from perennial.adapters.envoy.admin import EnvoyAdmin
from perennial.adapters.envoy.measurements import EXPORTED
from perennial.adapters.prometheus.monitor_metrics import MonitorMetrics
from perennial.adapters.prometheus.pages import PartHealth, server
from perennial.adapters.sql.store import SqlStore
from perennial.core.alerting.alert_messages import KINDS, AlertFact
from perennial.core.events import Entry, Event
from perennial.core.monitoring.drift import ColumnDrift
from perennial.core.monitoring.levels import Level, MonitorVerdict
from perennial.flows.monitoring.receive_alerts import AlertRecorder
from perennial.settings import Settings

pytestmark = [pytest.mark.server, pytest.mark.timeout(600)]
OTHER = "other"
QUICK = Timing("1s", "1s", windows="1s", group_wait="1s", group_interval="2s", repeat="1h")
WORD = "a word of its own"


class Plant:
    """The monitor's pages, an Envoy, and a ledger behind the receiver."""

    def __init__(self, folder: Path, envoy: SplitStack) -> None:
        self.envoy = envoy
        self.metrics = MonitorMetrics()
        self.ledger = SqlStore(f"sqlite:///{folder / 'ledger.db'}").ledger
        monitor, receiver, nobody = free_ports(3)
        parts = PartHealth(*(server(f"http://127.0.0.1:{nobody}") for _ in range(2)))
        admin = EnvoyAdmin(folder / "admin" / "a.sock")
        pages = {PARTS_PATH: parts.page, ENVOY_PATH: lambda: admin.exposition(EXPORTED)}
        self.metrics.serve("127.0.0.1", monitor, WORD, pages=pages)
        recorder = AlertRecorder(self.ledger, lambda: {MODEL, OTHER})
        self.receiver = listening(
            "127.0.0.1", receiver, "/alerts", WORD, lambda body: recorder.record(body, datetime.now(UTC))
        )
        Thread(target=self.receiver.serve_forever, daemon=True).start()
        for name in ("internal", "alerts"):
            (folder / name).write_text(WORD)
        shipped = catalog.spec("defect_predictor", Settings(spec_overlay=None))
        specs = [shipped.model_copy(update={"name": name}) for name in (MODEL, OTHER)]
        self.servers = AlertingServers(folder, specs, monitor, receiver, folder, QUICK)

    def show(self, model: str, level: Level) -> None:
        drifts = (ColumnDrift(column="LOC", psi=0.9, allowance=0.25),)
        self.metrics.show(
            model, MonitorVerdict(level=level, reasons=("x",), rows=1500, drifts=drifts), datetime.now(UTC)
        )

    def entries(self, model: str) -> list[Entry]:
        return [row.entry for row in self.ledger.rows(model, kinds=KINDS)]

    def state(self, model: str, alert: str) -> str | None:
        """Return the newest recorded state of an alert of a model."""
        states = [
            recorded.state
            for entry in self.entries(model)
            for recorded in AlertFact.read(entry).alerts
            if recorded.name == alert
        ]
        return states[-1] if states else None

    def fail(self, times: int) -> None:
        address = f"http://127.0.0.1:{self.envoy.port}{INFER}"
        with httpx.Client(trust_env=False, timeout=30) as client:
            for _ in range(times):
                assert client.post(address, headers={"x-status": "500"}).status_code == 500


@pytest.fixture(scope="module")
def plant(tmp_path_factory) -> Iterator[Plant]:
    folder = tmp_path_factory.mktemp("alerting")
    with SplitStack(folder) as envoy:
        plant = Plant(folder, envoy)
        try:
            with plant.servers:
                yield plant
        finally:
            plant.receiver.shutdown()


def test_alerts_of_a_model_come_in_one_message_with_figures_and_once(plant):
    plant.show(MODEL, Level.RETRAIN)
    servers = plant.servers

    def burns() -> bool:
        plant.fail(5)  # the first errors make the series, the next ones let it grow
        return bool(servers.query(f'ALERTS{{alertname="ModelAvailabilityBurn",model_name="{MODEL}"}}'))

    servers.wait(burns, "failed requests are seen")
    servers.wait(lambda: plant.state(MODEL, "ModelAvailabilityBurn") == "firing", "the message about them")
    (newest,) = plant.entries(MODEL)[-1:]
    recorded = {alert.name: alert for alert in AlertFact.read(newest).alerts}
    assert {"ModelRetrain", "ModelAvailabilityBurn"} <= set(recorded), "grouped by model"
    assert newest.kind == Event.ALERT_FIRING
    assert "LOC +0.65" in recorded["ModelRetrain"].description
    assert recorded["ModelRetrain"].runbook == "docs/guide/runbooks.md#modelretrain"
    assert "of the requests end in a 5xx" in recorded["ModelAvailabilityBurn"].summary
    # Evaluated and sent again and again, and recorded once.
    before = plant.entries(MODEL)
    evaluated = 'sum(prometheus_rule_group_iterations_total{rule_group=~".*model_levels"})'
    start = float(servers.query(evaluated)[0]["value"][1])
    servers.wait(
        lambda: float(servers.query(evaluated)[0]["value"][1]) >= start + 8, "eight more evaluations"
    )
    states = [AlertFact.read(entry).states for entry in plant.entries(MODEL)[len(before) - 1 :]]
    assert len(states) == len(set(states))
    assert plant.state(MODEL, "ModelRetrain") == "firing"


def test_envoy_is_read_by_model_and_pool_with_few_buckets(plant):
    servers = plant.servers
    (counted,) = servers.query(
        f'envoy_cluster_upstream_rq_xx{{model_name="{MODEL}",envoy_response_code_class="5"}}'
    )
    assert (counted["metric"]["pool"], counted["metric"]["transport"]) == ("stable", "rest")
    buckets = servers.query(f'envoy_cluster_upstream_rq_time_bucket{{model_name="{MODEL}"}}')
    bounds = {series["metric"]["le"] for series in buckets}
    assert {"249.5", "+Inf"} <= bounds
    assert len(bounds) < 20
    up = {series["metric"]["job"]: series["value"][1] for series in servers.query("up")}
    assert up == dict.fromkeys(("monitor", "envoy", "parts", "prometheus", "alertmanager"), "1")
    assert {series["value"][1] for series in servers.query("perennial_part_healthy")} == {"0"}


def test_the_graver_level_silences_the_other(plant):
    servers = plant.servers
    servers.amtool("alert", "add", "alertname=ModelWarn", "level=warn", f"model_name={MODEL}")
    servers.wait(
        lambda: (
            [alert["status"]["state"] for alert in servers.alerts(alertname="ModelWarn", model_name=MODEL)]
            == ["suppressed"]
        ),
        "the level retrain inhibits it",
    )
    assert plant.state(MODEL, "ModelWarn") is None


def test_a_silence_holds_a_message_back_until_it_ends(plant):
    servers = plant.servers
    named = servers.amtool(
        "silence", "add", "alertname=ModelWarn", f"model_name={OTHER}", "--duration=1h", "--comment=looked at",
        "--author=test",
    )  # fmt: skip
    plant.show(OTHER, Level.WARN)
    servers.wait(
        lambda: (
            [alert["status"]["state"] for alert in servers.alerts(alertname="ModelWarn", model_name=OTHER)]
            == ["suppressed"]
        ),
        "the silenced alert",
    )
    assert plant.entries(OTHER) == []
    servers.amtool("silence", "expire", named.strip())
    servers.wait(lambda: plant.state(OTHER, "ModelWarn") == "firing", "the message after the silence")


def test_what_ends_is_told(plant):
    plant.show(OTHER, Level.OK)
    plant.servers.wait(lambda: plant.state(OTHER, "ModelWarn") == "resolved", "the end of the alert")
    assert plant.entries(OTHER)[-1].kind == Event.ALERT_RESOLVED
