"""A real Airflow with TLS inside: tasks show its certificate, nobody else gets in, a renewal restarts nothing."""

from __future__ import annotations

import httpx
import pytest
from airflow_server import AirflowServer
from inside.certificates import BAD, InsideCertificates

from perennial.core.certificates.roles import ProcessRole

pytestmark = [pytest.mark.server, pytest.mark.deep]


def a_task_runs(server: AirflowServer) -> None:
    """Until a task has asked the API server for its instructions, and waits for a person."""
    run = server.call("admin", "POST", "/api/v2/dags/asks/dagRuns", {"logical_date": None}).json()[
        "dag_run_id"
    ]
    path = f"/api/v2/dags/asks/dagRuns/{run}/taskInstances/approval"
    server.until(
        lambda: server.call("admin", "GET", path).json()["state"] in ("deferred", "awaiting_input"), path
    )


def test_tasks_run_over_tls_before_and_after_a_renewal(tmp_path):
    inside = InsideCertificates(tmp_path / "certificates")
    inside.renew(days_ago=6)
    server = AirflowServer(tmp_path, internal_tls=inside.folder)
    try:
        server.start()
        a_task_runs(server)
        version = f"{server.settings.airflow_url}/api/v2/version"
        assert httpx.get(version, verify=server.settings.verify).status_code == 200
        for kind in BAD:
            try:
                context = inside.context(inside.bad(kind, wrong=ProcessRole.ENVOY), tmp_path)
                assert httpx.get(version, verify=context).status_code == 403, kind
            except httpx.HTTPError:
                pass
        port, before = server.ports[0], inside.serial("airflow")
        assert inside.served(port) == before
        inside.renew()
        assert inside.served(port) == inside.serial("airflow") != before
        a_task_runs(server)
        assert all(process.poll() is None for process in server.processes)
    finally:
        server.stop()
