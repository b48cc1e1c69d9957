"""Client of Envoy's admin interface."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from perennial.adapters.loopback_http import Answer, LoopbackHttp
from perennial.errors import RouterRejected, RouterUnavailable


@dataclass(frozen=True)
class Endpoint:
    """A server in the statistics of a cluster.

    Attributes:
        answered: attempts that the server accepted, with or without success.
        errors: accepted attempts that ended in a 5xx or a broken connection; a refused connection is not an
            accepted attempt.
    """

    host: str
    port: int
    healthy: bool
    answered: int
    errors: int


Buckets = tuple[tuple[float, int], ...]
"""(upper bound in ms, cumulative count), ascending."""


class EnvoyAdmin:
    """Client; every method raises RouterUnavailable when Envoy does not answer."""

    def __init__(self, socket: Path, timeout_s: float = 3.0) -> None:
        self._socket = socket
        self._http = LoopbackHttp(socket, timeout_s)

    def live(self) -> None:
        """Check that Envoy is up and has its first configuration."""
        self._ask("/ready", {})

    def numbers(self, pattern: str) -> dict[str, int | str]:
        """Return the counters, gauges and texts whose name matches the regular expression."""
        stats = self._get("/stats", {"format": "json", "filter": pattern})["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "name" in stat}

    def latencies(self, pattern: str) -> dict[str, Buckets]:
        """Return the histograms since the start of Envoy by name.

        Envoy rounds latencies down to whole milliseconds, and its bounds lie between them. The latencies up to a
        bound took less than half a millisecond more, so the returned bounds are 0.5 ms higher.
        """
        query = {"format": "json", "filter": pattern, "histogram_buckets": "cumulative"}
        stats = self._get("/stats", query)["stats"]
        return {
            histogram["name"]: tuple(
                (float(bucket["upper_bound"]) + 0.5, int(bucket["cumulative"]))
                for bucket in histogram["buckets"]
            )
            for stat in stats
            for histogram in stat.get("histograms", ())
        }

    def exposition(self, pattern: str) -> bytes:
        """Return the used statistics whose name matches the regular expression, as Prometheus reads them."""
        return self._ask("/stats/prometheus", {"filter": pattern, "usedonly": ""}).body

    def clusters(self) -> Mapping[str, tuple[Endpoint, ...]]:
        """Return the active clusters by name; a cluster before its first health checks is missing."""
        body = self._get("/clusters", {"format": "json"})
        return {
            cluster["name"]: tuple(_endpoint(host) for host in cluster.get("host_statuses", ()))
            for cluster in body.get("cluster_statuses", ())
        }

    def dumped(self, resource: str) -> list[dict[str, Any]]:
        """Return the entries of a kind of resource (`dynamic_route_configs`, ...) that Envoy uses now."""
        configs: list[dict[str, Any]] = self._get("/config_dump", {"resource": resource}).get("configs", [])
        return configs

    def end(self) -> None:
        """End Envoy; its supervisor starts it again."""
        self._http.post("/quitquitquit", {}, {})

    def reopen_logs(self) -> None:
        """Have Envoy open the files of its access logs again, after they were renamed."""
        try:
            self._http.post("/reopen_logs", {}, {})
        except OSError as error:
            raise self._silent(error) from error

    def _get(self, path: str, query: Mapping[str, str]) -> Any:
        return json.loads(self._ask(path, query).body)

    def _ask(self, path: str, query: Mapping[str, str]) -> Answer:
        try:
            answer = self._http.get(f"{path}?{urlencode(query)}")
        except OSError as error:
            raise self._silent(error) from error
        if answer.status != 200:
            raise RouterUnavailable(
                f"{self._socket}: {path} answers {answer.status}: {answer.text[:200]}",
                hint="Envoy is starting or draining; see its log",
            )
        return answer

    def _silent(self, error: OSError) -> RouterUnavailable:
        return RouterUnavailable(
            f"Envoy's admin interface {self._socket} does not answer: {error!r}",
            hint="start it with `perennial router run`; see `perennial local status`",
        )


def _endpoint(status: dict[str, Any]) -> Endpoint:
    address = status["address"]["socket_address"]
    stats = {stat["name"]: int(stat.get("value", 0)) for stat in status.get("stats", ())}
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


def clear_socket(path: Path) -> None:
    """Make the private folder of the admin socket, and remove the socket that a killed Envoy left.

    Raises:
        RouterRejected: the folder belongs to another user.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.parent.stat().st_uid != os.getuid() or path.parent.is_symlink():
        raise RouterRejected(
            f"{path.parent} belongs to another user", hint="remove it, or set PERENNIAL_HOME"
        )
    path.parent.chmod(0o700)
    path.unlink(missing_ok=True)
