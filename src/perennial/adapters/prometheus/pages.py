"""Further pages of the monitor: Envoy's statistics, and the health of servers that have no metrics of their own."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping

import httpx
from prometheus_client import CollectorRegistry, Gauge, generate_latest

Page = Callable[[], bytes]
"""Returns a text page for Prometheus; raises an error where what it asks does not answer."""
PATIENCE = httpx.Timeout(3.0)
"""Longest wait for an answer about the health of a server: a scrape has 10 seconds."""
AIRFLOW_HEALTH, MLFLOW_HEALTH = "/api/v2/monitor/health", "/health"


def server(address: str, verify: ssl.SSLContext | bool = True) -> httpx.Client:
    """Return a client of a server of our own; its certificate is verified with `verify`."""
    return httpx.Client(base_url=address, timeout=PATIENCE, verify=verify, trust_env=False)


class PartHealth:
    """Health of the parts of Airflow and of MLflow, asked at each scrape.

    Args:
        mlflow, airflow: clients of the servers (`server`).
    """

    def __init__(self, mlflow: httpx.Client, airflow: httpx.Client) -> None:
        self._mlflow, self._airflow = mlflow, airflow

    def page(self) -> bytes:
        """Return `perennial_part_healthy` of each part; a server that does not answer is not healthy."""
        registry = CollectorRegistry()
        healthy = Gauge(
            "perennial_part_healthy", "1: the part says that it is healthy.", ("part",), registry=registry
        )
        for part, is_healthy in {**self._of_airflow(), "mlflow": self._of_mlflow()}.items():
            healthy.labels(part).set(is_healthy)
        return generate_latest(registry)

    def _of_mlflow(self) -> bool:
        try:
            return self._mlflow.get(MLFLOW_HEALTH).is_success
        except httpx.HTTPError:
            return False

    def _of_airflow(self) -> Mapping[str, bool]:
        """Return the health of the API server and of each part that it knows; a part that never started has none."""
        try:
            parts = self._airflow.get(AIRFLOW_HEALTH).raise_for_status().json()
            states = {name: (state or {}).get("status") for name, state in parts.items()}
        except (httpx.HTTPError, ValueError, AttributeError):
            return {"airflow": False}
        known = {f"airflow {name}": state == "healthy" for name, state in states.items() if state is not None}
        return {"airflow": True, **known}
