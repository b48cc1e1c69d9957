"""The receiver of Alertmanager's messages: who may send, what is kept, and what becomes a notice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from threading import Thread

import httpx
import pytest
from serving_stack import free_ports

from perennial.adapters.alerting.receiver import LARGEST_BODY, listening
from perennial.adapters.sql.store import SqlStore
from perennial.core.alerting.alert_messages import AGAIN, KINDS, MOST_ALERTS, AlertFact, entry_of
from perennial.core.events import Event, LedgerRow
from perennial.core.governance.notices import Links, compose, is_notable
from perennial.errors import MalformedInput, PortTaken, StoreUnavailable
from perennial.flows.monitoring.receive_alerts import AlertRecorder

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WORD = "a word of its own"


def alert(name: str, status: str = "firing", model: str = "m") -> dict:
    return {
        "status": status,
        "labels": {"alertname": name, "severity": "warning", "model_name": model},
        "annotations": {"summary": f"{name} of {model}", "description": "0.7 of 0.1", "runbook_url": "r#x"},
        "startsAt": "2026-03-01T11:59:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "fingerprint": f"{name}-{model}",
    }


def message(*alerts: dict, status: str = "firing", model: str = "m", **more: object) -> bytes:
    body = {
        "version": "4", "groupKey": f"{{}}:{{model_name={model}}}", "status": status, "receiver": "perennial",
        "groupLabels": {"model_name": model}, "alerts": list(alerts), **more,
    }  # fmt: skip
    return json.dumps(body).encode()


@pytest.fixture
def ledger(tmp_path):
    return SqlStore(f"sqlite:///{tmp_path / 'ledger.db'}").ledger


@pytest.fixture
def recorder(ledger):
    return AlertRecorder(ledger, lambda: {"m"})


def test_a_message_sent_twice_is_recorded_once_and_a_reminder_again(recorder, ledger):
    body = message(alert("ModelWarn"))
    assert recorder.record(body, NOW)
    assert not recorder.record(body, NOW + timedelta(seconds=30))
    assert recorder.record(message(alert("ModelWarn"), alert("ModelStandIn")), NOW + timedelta(seconds=60))
    assert recorder.record(
        message(alert("ModelWarn", "resolved"), status="resolved"), NOW + timedelta(seconds=90)
    )
    assert recorder.record(
        message(alert("ModelWarn", "resolved"), status="resolved"), NOW + timedelta(seconds=91) + AGAIN
    )
    assert [row.entry.kind for row in ledger.rows("m", kinds=KINDS)] == [
        Event.ALERT_FIRING, Event.ALERT_FIRING, Event.ALERT_RESOLVED, Event.ALERT_RESOLVED,
    ]  # fmt: skip


def test_messages_of_other_groups_are_others(recorder, ledger):
    assert recorder.record(message(alert("TargetDown", model=""), model=""), NOW)
    assert recorder.record(message(alert("TargetDown", model=""), model="nobody"), NOW)
    assert [row.entry.model for row in ledger.rows(kinds=KINDS)] == ["", ""], "a model without a spec is none"


def test_a_flood_is_cut_and_counted():
    many = [alert(f"A{number}") for number in range(MOST_ALERTS + 5)]
    long = {**alert("Long"), "annotations": {"summary": "x" * 40_000}}
    fact = AlertFact.read(entry_of(message(long, *many, truncatedAlerts=7), {"m"}, NOW))
    assert (len(fact.alerts), fact.left_out) == (MOST_ALERTS, 13)
    assert len(fact.alerts[0].summary) == 1500


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        message(),
        message(alert("A"), version="3"),
        message({**alert("A"), "startsAt": "yesterday"}),
        message({**alert("A"), "status": "odd"}),
        message({**alert("A"), "labels": {"alertname": 3}}),
    ],
)
def test_what_is_no_message_is_refused_and_nothing_is_recorded(body, recorder, ledger):
    with pytest.raises(MalformedInput):
        recorder.record(body, NOW)
    assert ledger.rows() == []


def test_a_notice_has_what_no_other_notice_has_said():
    both = entry_of(message(alert("ModelRetrain"), alert("ModelStandIn")), {"m"}, NOW)
    told = entry_of(message(alert("ModelRetrain")), {"m"}, NOW)
    assert is_notable(both)
    assert not is_notable(told), "the change of level was a notice"
    links = Links(mlflow="http://mlflow", airflow="http://airflow")
    notice = compose(LedgerRow(seq=1, entry=both, previous="", hash=""), None, links)
    assert notice.title == "m raises ModelStandIn"
    assert "ModelStandIn of m" in notice.body
    assert "r#x" in notice.body
    assert "ModelRetrain of m" not in notice.body
    plant = entry_of(message(alert("TargetDown", "resolved"), status="resolved", model=""), {"m"}, NOW)
    notice = compose(LedgerRow(seq=1, entry=plant, previous="", hash=""), None, links)
    assert notice.title == "The plant has no longer TargetDown"
    assert "http://mlflow" not in notice.body


class Taken:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    def __call__(self, body: bytes) -> bool:
        if body == b"down":
            raise StoreUnavailable("the database does not answer", hint="start it")
        if body == b"odd":
            raise MalformedInput("no message", hint="x")
        self.bodies.append(body)
        return len(self.bodies) == 1


@pytest.fixture
def served() -> Iterator[tuple[httpx.Client, Taken]]:
    taken = Taken()
    (port,) = free_ports(1)
    server = listening("127.0.0.1", port, "/alerts", WORD, taken)
    Thread(target=server.serve_forever, daemon=True).start()
    headers = {"authorization": f"Bearer {WORD}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", headers=headers, trust_env=False) as client:
        yield client, taken
    server.shutdown()
    server.server_close()


def test_the_door_of_the_receiver(served):
    client, taken = served
    assert client.get("/livez", headers={"authorization": ""}).status_code == 200
    for wrong in ("", "Bearer", "Bearer other", f"Bearer {WORD}."):
        assert client.post("/alerts", headers={"authorization": wrong}, content=b"x").status_code == 401
    assert client.get("/alerts").status_code == 404
    assert client.post("/other", content=b"x").status_code == 404
    assert client.post("/alerts", content=iter([b"x"])).status_code == 411
    assert client.post("/alerts", content=b"x" * (LARGEST_BODY + 1)).status_code == 413
    assert client.post("/alerts", content=b"odd").status_code == 400
    assert client.post("/alerts", content=b"down").status_code == 503, "Alertmanager sends it again"
    assert taken.bodies == []
    assert client.post("/alerts", content=b"message").text == "recorded\n"
    assert client.post("/alerts", content=b"message").text == "known\n"


def test_a_taken_port_is_told():
    (port,) = free_ports(1)
    with listening("127.0.0.1", port, "/alerts", WORD, Taken()):
        with pytest.raises(PortTaken, match=str(port)):
            listening("127.0.0.1", port, "/alerts", WORD, Taken())
