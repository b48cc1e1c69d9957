"""Questions to Envoy's admin interface."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from perennial.adapters.loopback_http import Answer, LoopbackHttp
from perennial.errors import RouterUnavailable


@dataclass(frozen=True)
class Endpoint:
    """One server as one cluster sees it.

    Attributes:
        answered: attempts that the server took, whatever became of them.
        errors: of these, those that ended in a 5xx or a broken connection; an attempt that found nobody
            listening was never taken.
    """

    host: str
    port: int
    healthy: bool
    answered: int
    errors: int


Buckets = tuple[tuple[float, int], ...]


class EnvoyAdmin:
    """Reads only; every method raises RouterUnavailable when Envoy does not answer."""

    def __init__(self, host: str, port: int, timeout_s: float = 3.0) -> None:
        self._url = f"http://{host}:{port}"
        self._http = LoopbackHttp(host, port, timeout_s)

    def live(self) -> None:
        """Raises RouterUnavailable unless Envoy is up and has its first configuration."""
        self._ask("/ready", {})

    def numbers(self, pattern: str) -> dict[str, int | str]:
        """Counters, gauges and texts whose name matches the expression."""
        stats = self._get("/stats", {"format": "json", "filter": pattern})["stats"]
        return {one["name"]: one["value"] for one in stats if "name" in one}

    def latencies(self, pattern: str) -> dict[str, Buckets]:
        """Histograms in ms since the start of Envoy: (upper bound, cumulative count), ascending.

        Envoy's whole milliseconds are rounded down and its bounds lie between them, so what it counts up to
        a bound took less than half a millisecond more: that is the bound given here.
        """
        query = {"format": "json", "filter": pattern, "histogram_buckets": "cumulative"}
        stats = self._get("/stats", query)["stats"]
        found: dict[str, Buckets] = {}
        for group in (one["histograms"] for one in stats if "histograms" in one):
            for histogram in group:
                buckets = histogram["buckets"]
                found[histogram["name"]] = tuple(
                    (float(b["upper_bound"]) + 0.5, int(b["cumulative"])) for b in buckets
                )
        return found

    def clusters(self) -> Mapping[str, tuple[Endpoint, ...]]:
        """Active clusters by name; one that still waits for its first health checks is not there yet."""
        body = self._get("/clusters", {"format": "json"})
        return {
            one["name"]: tuple(_endpoint(host) for host in one.get("host_statuses", ()))
            for one in body.get("cluster_statuses", ())
        }

    def _get(self, path: str, query: Mapping[str, str]) -> Any:
        return json.loads(self._ask(path, query).body)

    def _ask(self, path: str, query: Mapping[str, str]) -> Answer:
        try:
            answer = self._http.get(f"{path}?{urlencode(query)}")
        except OSError as error:
            raise RouterUnavailable(
                f"Envoy's admin interface {self._url} does not answer: {error!r}",
                hint="start it with `perennial router run`; see `perennial local status`",
            ) from error
        if answer.status != 200:
            raise RouterUnavailable(
                f"{self._url}{path} answers {answer.status}: {answer.text[:200]}",
                hint="Envoy is starting or draining; look at its log",
            )
        return answer


def _endpoint(status: dict) -> Endpoint:
    address = status["address"]["socket_address"]
    stats = {one["name"]: int(one.get("value", 0)) for one in status.get("stats", ())}
    health = status.get("health_status", {})
    failed = any(value is True for name, value in health.items() if name.startswith("failed_"))
    errors = max(0, stats.get("rq_error", 0) - stats.get("cx_connect_fail", 0))
    return Endpoint(
        host=address["address"],
        port=int(address["port_value"]),
        healthy=not failed and health.get("eds_health_status", "HEALTHY") == "HEALTHY",
        answered=stats.get("rq_success", 0) + errors,
        errors=errors,
    )
