"""Envoy and model servers under supervisord, which restarts them, as in `perennial local up`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from serving_stack import envoy_is_up, stack_settings, status, until, variables, worker_of

from perennial.local import processes, supervisor, supervisord
from perennial.wiring import traffic

SERVED = ("envoy", "server-")


class SupervisedStack:
    """Two stable servers, a canary server and Envoy on free ports with a state folder of their own.

    MLflow runs on SQLite without its server; each process opens it by itself.
    """

    def __init__(self, folder: Path, overlay: Path | None = None, **settings: object) -> None:
        self.settings = stack_settings(folder, spec_overlay=overlay, **settings)
        self.pool = traffic.pool(self.settings)
        self.router = traffic.router(self.settings)

    @property
    def environment(self) -> dict[str, str]:
        """Return the settings as variables for other processes of the same stack."""
        return variables(self.settings)

    def start(self) -> None:
        (self.settings.state / "logs").mkdir(parents=True, exist_ok=True)
        served = [process for process in processes.table(self.settings) if process.name.startswith(SERVED)]
        environment = {**os.environ, **self.environment, "PYTHONUNBUFFERED": "1"}
        supervisord.launch(self.settings, served, environment)
        self.wait_answering(120)

    def stop(self) -> None:
        supervisor.down(self.settings, lambda words: None)

    def servers(self, pool: str) -> list[str]:
        return [f"server-{pool}-{port}" for port in self.settings.ports(pool)]

    def kill(self, name: str) -> None:
        """Send SIGKILL to this process only, not to its group or children."""
        os.kill(self.pid(name), signal.SIGKILL)

    def kill_worker(self, server: str) -> None:
        """Send SIGKILL to the worker, a child of the process that supervisord started."""
        os.kill(worker_of(self.pid(server)), signal.SIGKILL)

    def pid(self, name: str) -> int:
        return supervisord.states(self.settings)[name]["pid"]

    def wait_answering(self, seconds: float = 60) -> None:
        """Wait until Envoy and every server answer."""
        until(lambda: envoy_is_up(self.settings.envoy_admin), seconds, "Envoy")
        for port in (*self.settings.ports("stable"), *self.settings.ports("canary")):
            until(
                lambda port=port: status(f"http://127.0.0.1:{port}/livez") == 200, seconds, f"server {port}"
            )

    def wait_healthy(self, model: str, seconds: float = 60) -> None:
        """Wait until Envoy sends the model's requests to every server again."""
        wanted = {pool: len(self.settings.ports(pool)) for pool in ("stable", "canary")}
        until(lambda: dict(self.router.healthy(model)) == wanted, seconds, "all servers healthy")
