"""A real Envoy and three real model servers (two stable, one canary), as `perennial local up` starts them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import httpx
import signing
from tiny_models import tiny_version

from perennial.core.release.traffic import Target
from perennial.core.version import VersionRef
from perennial.serving import headers
from perennial.settings import Settings
from perennial.wiring import traffic


class ServingStack:
    """Processes on free loopback ports with a state folder of their own."""

    def __init__(self, folder: Path, **more: Path | None) -> None:
        self.settings = stack_settings(folder, **more)
        self.folder = folder
        self.pool = traffic.pool(self.settings)
        self.router = traffic.router(self.settings)
        self._processes: dict[str, subprocess.Popen] = {}

    def start(self) -> None:
        self.start_envoy()
        for pool in ("stable", "canary"):
            for port in self.settings.ports(pool):
                self.start_server(pool, port)
        for pool in ("stable", "canary"):
            for port in self.settings.ports(pool):
                self.wait_for_server(port)

    def start_envoy(self) -> None:
        self._run("envoy", "router", "run")
        until(lambda: envoy_is_up(self.settings.envoy_admin), 30, "Envoy")

    def start_server(self, pool: str, port: int) -> None:
        self._run(str(port), "serve", "--pool", pool, "--port", str(port))

    def wait_for_server(self, port: int) -> None:
        verify = self.settings.verify
        url = f"{self.settings.inside_scheme}://127.0.0.1:{port}/livez"
        until(lambda: status(url, verify=verify) == 200, 120, f"model server {port}")

    def kill(self, name: str | int, with_signal: int = signal.SIGKILL) -> None:
        """Signal a process and a model server's worker, which is in a group of its own; SIGKILL waits until the
        process is gone."""
        process = self._processes[str(name)]
        worker = worker_of(process.pid) if name != "envoy" else None
        os.killpg(process.pid, with_signal)
        if worker is not None:
            with contextlib.suppress(ProcessLookupError):  # gone with its parent
                os.kill(worker, with_signal)
        if with_signal == signal.SIGKILL:
            process.wait(timeout=20)

    def alive(self, name: str | int) -> bool:
        return self._processes[str(name)].poll() is None

    def stop(self) -> None:
        for process in self._processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=20)

    def revive(self, model: str) -> None:
        """Start the model servers that a test killed; until Envoy has all healthy for the model."""
        for pool in ("stable", "canary"):
            for port in self.settings.ports(pool):
                if not self.alive(port):
                    self.start_server(pool, port)
                    self.wait_for_server(port)
        self.until_healthy(model)

    def until_healthy(self, model: str) -> None:
        until(lambda: dict(self.router.healthy(model)) == {"stable": 2, "canary": 1}, 60, "all healthy")

    def load_tiny(
        self, folder: Path, model: str, biases: Mapping[str, float], held: Mapping[str, Sequence[str]]
    ) -> dict[str, VersionRef]:
        """Make tiny versions with these biases, load those of each pool, and return all by version."""
        made = {version: tiny_version(folder, model, version, bias) for version, bias in biases.items()}
        for pool, versions in held.items():
            for version in versions:
                self.load(pool, *made[version])
        return {version: ref for version, (ref, _) in made.items()}

    def load(self, pool: str, ref: VersionRef, files: Path) -> None:
        """Until every server of the pool holds the version."""
        self.pool.ensure(pool, ref, files)
        until(lambda: self.pool.readiness(pool, ref.model, ref.digest).complete, 30, str(ref))

    def _run(self, name: str, *arguments: str) -> None:
        log = (self.folder / f"{name}.log").open("ab")
        self._processes[name] = subprocess.Popen(
            [sys.executable, "-m", "perennial", *arguments],
            env={**os.environ, **variables(self.settings)},
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def stack_settings(folder: Path, **more: Path | None) -> Settings:
    """Return the settings of a stack on free ports: two stable servers, a canary server, Envoy."""
    envoy, first, second, canary, *grpc = free_ports(7)
    return Settings(
        home=folder, port_envoy=envoy, ports_stable=f"{first},{second}",
        ports_canary=str(canary), ports_stable_grpc=f"{grpc[0]},{grpc[1]}", ports_canary_grpc=str(grpc[2]),
        **{"trusted_keys": signing.FOLDER, **more},
    )  # fmt: skip


def variables(settings: Settings) -> dict[str, str]:
    """Return the settings as environment variables for other processes."""
    values = settings.model_dump(exclude_none=True)
    return {f"PERENNIAL_{name.upper()}": str(value) for name, value in values.items()}


def target(ref: VersionRef, release: str) -> Target:
    return Target(version=ref.version, digest=ref.digest, release_id=release)


def worker_of(server: int) -> int:
    """The process that answers, which BentoML's first process starts in a session of its own, so that a signal
    to the group does not reach it."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    (worker,) = (
        child for child in children if b"_bentoml_impl.worker" in Path(f"/proc/{child}/cmdline").read_bytes()
    )
    return int(worker)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


def envoy_admin(socket: Path) -> httpx.Client:
    """Client of the admin interface on its Unix socket."""
    return httpx.Client(transport=httpx.HTTPTransport(uds=str(socket)), base_url="http://admin", timeout=2.0)


def envoy_is_up(socket: Path) -> bool:
    try:
        with envoy_admin(socket) as client:
            return client.get("/ready").status_code == 200
    except httpx.HTTPError:
        return False


def inside(settings: Settings) -> dict[str, str]:
    """Headers of a request that goes past Envoy to a model server."""
    return {headers.SECRET: settings.internal_secret}


def status(url: str, sent: dict[str, str] | None = None, verify: ssl.SSLContext | bool = True) -> int:
    """HTTP status; 0 when nobody answers."""
    try:
        return httpx.get(url, headers=sent, timeout=2.0, verify=verify, trust_env=False).status_code
    except httpx.HTTPError:
        return 0


def until(done: Callable[[], bool], seconds: float, what: str) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, f"not in {seconds} s: {what}"
        time.sleep(0.05)
