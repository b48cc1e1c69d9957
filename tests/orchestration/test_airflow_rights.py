"""What a real Airflow refuses to operators and approvers, and what of the rest is in our ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from airflow_server import AirflowServer

from perennial.core.events import Event

pytestmark = [pytest.mark.server, pytest.mark.timeout(900)]
RUNS = "/api/v2/dags/train_m_1/dagRuns"


def recorded(airflow: AirflowServer, kind: Event) -> set[tuple[str, ...]]:
    rows = airflow.store.ledger.rows("", kinds=(kind,))
    return {(row.entry.actor, *map(str, row.entry.payload.values())) for row in rows}


def test_a_run_that_is_due_later_is_refused(airflow):
    later = (datetime.now(UTC) + timedelta(seconds=75)).isoformat()
    for name in ("olga", "admin"):
        refused = airflow.call(name, "POST", RUNS, {"logical_date": None, "run_after": later})
        assert (refused.status_code, "future" in refused.text) == (400, True), refused.text
    assert airflow.call("olga", "POST", RUNS, {"logical_date": None}).status_code == 200


def test_operators_and_approvers_write_no_assets_pools_variables_or_connections(airflow):
    assets = airflow.call("vic", "GET", "/api/v2/assets").json()["assets"]
    event = {"asset_id": assets[0]["id"], "extra": {"key": "read in Airflow"}}
    for name in ("olga", "ann"):
        for method, path, body in (
            ("POST", "/api/v2/assets/events", event),
            ("DELETE", f"/api/v2/assets/{assets[0]['id']}/queuedEvents", None),
            ("POST", "/api/v2/pools", {"name": "x", "slots": 0}),
            ("PATCH", "/api/v2/pools/default_pool", {"pool": "default_pool", "slots": 0}),
            ("POST", "/api/v2/variables", {"key": "x", "value": "y"}),
            ("POST", "/api/v2/connections", {"connection_id": "x", "conn_type": "http"}),
            ("DELETE", "/api/v2/dags/asks", None),
        ):
            assert airflow.call(name, method, path, body).status_code == 403, (name, method, path)
    own = airflow.settings.airflow_user
    assert airflow.call(own, "POST", "/api/v2/assets/events", event).status_code == 200
    assert recorded(airflow, Event.AIRFLOW_CHANGED) == {(own, "POST", "asset")}


def test_who_pauses_a_dag_is_recorded(airflow):
    for is_paused in (True, False):
        changed = airflow.call("olga", "PATCH", "/api/v2/dags/train_mx1", {"is_paused": is_paused})
        assert changed.status_code == 200
    assert ("olga", "train_mx1") in recorded(airflow, Event.DAG_RUN_CHANGED)
