"""Envoy, two model servers and an agent, of a Unix user of their own who sees nothing of the control plane."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from backends.servers import S3
from containers.native import BIN, prefix_of
from serving_stack import free_ports, status, until, worker_of

ROOT = Path(__file__).resolve().parents[3]
FIRST_UID = 10021
LEASE = "120"
"""A busy machine must not count as lost."""


class ServingMachine:
    """Envoy, two model servers and an agent, of a user with a folder of its own.

    Args:
        name: of the machine, and of its role in the database.
        secrets: setting -> value; the machine gets them as files.
        trusted: folder of public keys, of which it gets a copy.
    """

    def __init__(
        self,
        name: str,
        uid: int,
        folder: Path,
        exchange: str,
        secrets: Mapping[str, str],
        trusted: Path,
        bucket: S3,
    ) -> None:
        self.name, self.folder = name, folder
        self._prefix = prefix_of(uid)
        self.port, *ports = map(str, free_ports(5))
        self._servers = ports[:2]
        self._running: dict[str, subprocess.Popen] = {}
        folder.mkdir()
        shutil.copytree(trusted, folder / "trusted")
        credentials = shutil.copy(bucket.environment["AWS_SHARED_CREDENTIALS_FILE"], folder / "s3")
        for setting, value in secrets.items():
            (folder / setting).write_text(value)
        if self._prefix:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, uid, uid)
        folder.chmod(0o700)
        self._environment = {
            **bucket.environment,
            "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder),
            "PERENNIAL_HOME": str(folder / "state"), "PERENNIAL_PLANE": "serving", "PERENNIAL_MACHINE": name,
            **{f"PERENNIAL_{setting.upper()}_FILE": str(folder / setting) for setting in secrets},
            "PERENNIAL_EXCHANGE": exchange,
            "PERENNIAL_TRUSTED_KEYS": str(folder / "trusted"), "PERENNIAL_LOG_SHIP_SECONDS": "1",
            "PERENNIAL_PORT_ENVOY": self.port, "PERENNIAL_PORTS_STABLE": ports[0],
            "PERENNIAL_PORTS_CANARY": ports[1], "PERENNIAL_PORTS_STABLE_GRPC": ports[2],
            "PERENNIAL_PORTS_CANARY_GRPC": ports[3],
        }  # fmt: skip

    def up(self) -> None:
        """Start the processes as a container engine does; supervisord would refuse a Python of root's folder."""
        prepared = self._start("prepare", "local", "prepare")
        assert prepared.wait(timeout=300) == 0, self.log("prepare")
        names = ("envoy", self.server("stable"), self.server("canary"), "agent")
        self._running = {name: self._start(name, "local", "exec", name) for name in names}

    def server(self, pool: str) -> str:
        """Return the name of the process of the model server of a pool."""
        return f"server-{pool}-{self._servers[('stable', 'canary').index(pool)]}"

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process, to its group and to the worker of a model server."""
        process = self._running[name]
        workers = [worker_of(process.pid)] if name.startswith("server-") else []
        os.killpg(process.pid, signal.SIGKILL)
        for worker in workers:
            with contextlib.suppress(ProcessLookupError):  # gone with its parent
                os.kill(worker, signal.SIGKILL)
        process.wait(timeout=20)

    def revive(self, name: str) -> None:
        """Start a killed process again, as a container engine does."""
        self._running[name] = self._start(name, "local", "exec", name)

    def shown(self) -> dict[str, bytes]:
        """Return the command line and the environment of each process, as /proc shows them."""
        folders = {name: Path(f"/proc/{process.pid}") for name, process in self._running.items()}
        return {
            name: (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
            for name, folder in folders.items()
        }

    def until_up(self) -> None:
        for port in self._servers:
            until(lambda port=port: self._is_up(port), 600, f"server {port} of {self.name}")

    def leave(self) -> None:
        """End the agent in order, then kill the others; `up` starts all again with the same state."""
        agent = self._running["agent"]
        agent.terminate()
        agent.wait(timeout=120)
        self.stop()

    def stop(self) -> None:
        """Kill what still runs, with the workers of the servers, which are in sessions of their own."""
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def _is_up(self, port: str) -> bool:
        for process in self._running.values():
            assert process.poll() is None, f"{process.args}: {[self.log(path.stem) for path in self._logs()]}"
        return status(f"http://127.0.0.1:{port}/livez") == 200

    def _logs(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"))

    def _start(self, log: str, *arguments: str) -> subprocess.Popen:
        with (self.folder / f"{log}.log").open("ab") as output:
            return subprocess.Popen(
                [*self._prefix, sys.executable, "-m", "perennial", *arguments],
                env=self._environment, cwd=ROOT, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip
