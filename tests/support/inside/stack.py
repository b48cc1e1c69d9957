"""Envoy and a stable model server with TLS inside; on the address of the canary server a test may put another."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from grpc_side.calls import Caller, message
from serving_stack import ServingStack, envoy_admin, stack_settings, target, until, worker_of
from tiny_models import tensor_body

from inside.certificates import InsideCertificates
from perennial.core.release.traffic import Route
from perennial.core.version import VersionRef
from perennial.wiring import traffic


class InsideStack(ServingStack):
    """The certificates are six days old at first: due, and valid for another day."""

    def __init__(self, folder: Path) -> None:
        self.inside = InsideCertificates(folder / "certificates")
        self.inside.renew(days_ago=6)
        settings = stack_settings(folder, internal_tls=self.inside.folder)
        one = {
            name: getattr(settings, name).partition(",")[0] for name in ("ports_stable", "ports_stable_grpc")
        }
        self.settings, self.folder = settings.model_copy(update=one), folder
        self.pool, self.router = traffic.pool(self.settings), traffic.router(self.settings)
        self._processes = {}
        self.refs: dict[str, VersionRef] = {}
        (self.port,), (self.grpc_port,) = self.settings.ports("stable"), self.settings.grpc_ports("stable")

    def start(self) -> None:
        self.start_envoy()
        self.start_server("stable", self.port)
        self.wait_for_server(self.port)

    def serve(self, model: str) -> None:
        """Release a tiny version at once; until Envoy knows its server as healthy."""
        ref = self.load_tiny(self.folder / "versions", model, {"1.0.0": 0.0}, {"stable": ["1.0.0"]})["1.0.0"]
        self.refs[model] = ref
        self.router.apply(Route(model=model, stable=target(ref, "r1")))
        for protocol in ("", "_grpc"):
            healthy = rf"^cluster\.{model}-stable{protocol}\.membership_healthy$"
            until(lambda healthy=healthy: sum(self.statistics(healthy).values()) == 1, 60, "healthy")

    def pids(self) -> list[int]:
        envoy, server = self._processes["envoy"].pid, self._processes[str(self.port)].pid
        return [envoy, server, worker_of(server)]

    def statistics(self, pattern: str) -> dict[str, int]:
        with envoy_admin(self.settings.envoy_admin) as client:
            stats = client.get("/stats", params={"filter": pattern, "format": "json"}).json()["stats"]
        return {stat["name"]: stat["value"] for stat in stats if "value" in stat}

    def envoys_certificates(self) -> str:
        """Envoy's certificates and authorities of now, with their serial numbers."""
        with envoy_admin(self.settings.envoy_admin) as client:
            return json.dumps(client.get("/certs").json())


class Traffic:
    """Requests by REST and by gRPC without a pause, each of some on a connection of its own."""

    def __init__(self, stack: InsideStack, model: str) -> None:
        port = stack.settings.port_envoy
        self._model, self._url = model, f"http://127.0.0.1:{port}/v2/models/{model}/infer"
        self._grpc_port = port
        self._ended = threading.Event()
        self.failed: list[Any] = []
        self.answered = {"rest": 0, "grpc": 0}
        self._threads = [threading.Thread(target=work) for work in (self._rest, self._rest, self._grpc)]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def goes_on(self, more: int = 60) -> Callable[[], bool]:
        """Return the condition that so many further requests were answered both ways."""
        begun = dict(self.answered)
        return lambda: all(count >= begun[way] + more for way, count in self.answered.items())

    def _rest(self) -> None:
        with httpx.Client(trust_env=False, timeout=60) as client:
            while not self._ended.is_set():
                answer = client.post(self._url, json=tensor_body())
                self.answered["rest"] += 1
                if answer.status_code != 200:
                    self.failed.append(answer.text)

    def _grpc(self) -> None:
        with Caller(self._grpc_port) as caller:
            while not self._ended.is_set():
                code = caller.code(message(self._model))
                self.answered["grpc"] += 1
                if code != "OK":
                    self.failed.append(code)
