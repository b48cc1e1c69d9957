"""The two halves of a plant: a control plane on PostgreSQL and S3, and serving machines of other Unix users."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import signing
from backends.servers import BUCKET, S3, Postgres
from containers.native import BIN, prefix_of
from serving_stack import free_ports, status, until, variables

from perennial.settings import Settings
from perennial.wiring import traffic

ROOT = Path(__file__).resolve().parents[3]
FIRST_UID = 10021
LEASE = "120"
"""A busy machine must not count as lost."""


class ServingMachine:
    """Envoy, two model servers and an agent, of a user with a folder of its own."""

    def __init__(self, name: str, uid: int, folder: Path, given: dict[str, str], bucket: S3) -> None:
        self.name, self.folder = name, folder
        self._prefix = prefix_of(uid)
        self.port, *ports = map(str, free_ports(5))
        self._servers = ports[:2]
        self._running: list[subprocess.Popen] = []
        folder.mkdir()
        shutil.copytree(signing.FOLDER, folder / "trusted")
        credentials = shutil.copy(bucket.environment["AWS_SHARED_CREDENTIALS_FILE"], folder / "s3")
        (folder / "database").write_text(given["database"])
        if self._prefix:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, uid, uid)
        folder.chmod(0o700)
        self._environment = {
            **bucket.environment,
            "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder),
            "PERENNIAL_HOME": str(folder / "state"), "PERENNIAL_PLANE": "serving", "PERENNIAL_MACHINE": name,
            "PERENNIAL_DATABASE_URL_FILE": str(folder / "database"), "PERENNIAL_EXCHANGE": given["exchange"],
            "PERENNIAL_TRUSTED_KEYS": str(folder / "trusted"), "PERENNIAL_LOG_SHIP_SECONDS": "1",
            "PERENNIAL_PORT_ENVOY": self.port, "PERENNIAL_PORTS_STABLE": ports[0],
            "PERENNIAL_PORTS_CANARY": ports[1], "PERENNIAL_PORTS_STABLE_GRPC": ports[2],
            "PERENNIAL_PORTS_CANARY_GRPC": ports[3],
        }  # fmt: skip

    def up(self) -> None:
        """Start the processes as a container engine does; supervisord would refuse a Python of root's folder."""
        prepared = self._start("prepare", "local", "prepare")
        assert prepared.wait(timeout=120) == 0, self.log("prepare")
        names = ("envoy", f"server-stable-{self._servers[0]}", f"server-canary-{self._servers[1]}", "agent")
        self._running = [self._start(name, "local", "exec", name) for name in names]

    def until_up(self) -> None:
        for port in self._servers:
            until(lambda port=port: self._is_up(port), 300, f"server {port} of {self.name}")

    def leave(self) -> None:
        """End the agent in order, then kill the others; `up` starts all again with the same state."""
        agent = self._running[-1]
        agent.terminate()
        agent.wait(timeout=120)
        self.stop()

    def stop(self) -> None:
        """Kill what still runs, with the workers of the servers, which are in sessions of their own."""
        for process in self._running:
            with contextlib.suppress(ProcessLookupError, FileNotFoundError):
                for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
                    os.kill(int(child), signal.SIGKILL)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=20)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")[-3000:]

    def _is_up(self, port: str) -> bool:
        for process in self._running:
            assert process.poll() is None, f"{process.args}: {[self.log(path.stem) for path in self._logs()]}"
        return status(f"http://127.0.0.1:{port}/livez") == 200

    def _logs(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"))

    def _start(self, log: str, *arguments: str) -> subprocess.Popen:
        with (self.folder / f"{log}.log").open("wb") as output:
            return subprocess.Popen(
                [*self._prefix, sys.executable, "-m", "perennial", *arguments],
                env=self._environment, cwd=ROOT, stdout=output, stderr=output, start_new_session=True,
            )  # fmt: skip


class Halves:
    """A control plane whose state folder nobody else has, and the machines.

    It looks like a stack to `LiveReleases`: `settings`, `router` and `wait_healthy`.
    """

    def __init__(self, databases: Postgres, bucket: S3, names: tuple[str, ...]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="perennial-halves-"))
        self.folder.chmod(0o711)  # other users reach their own folder, unlike pytest's
        control = self.folder / "control"
        control.mkdir(mode=0o700)
        exchange = f"s3://{BUCKET}/{self.folder.name}"
        nobody = ",".join(map(str, free_ports(1)))
        self.settings = Settings(
            home=control / "state", plane="control", database_url=databases.address("plant", "perennial"),
            exchange=exchange, machine_lease=LEASE, spec_overlay=control, trusted_keys=signing.FOLDER,
            ports_stable=nobody, ports_canary=nobody, signing_key=signing.Key().write(control / "signing.pem"),
        )  # fmt: skip
        self.overlay = control
        self._owner = databases.address("perennial")
        self.router = traffic.router(self.settings)
        self.machines = [
            ServingMachine(
                name, FIRST_UID + number, self.folder / name,
                {"database": databases.address(name, "perennial"), "exchange": exchange}, bucket,
            )
            for number, name in enumerate(names)
        ]  # fmt: skip

    def command(self, *arguments: str, **given: str) -> str:
        """Run a command of the control plane, with further variables; returns what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "perennial", *arguments], env={**os.environ, **variables(self.settings), **given},
            cwd=ROOT, capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self) -> None:
        owner = {"PERENNIAL_DATABASE_URL": self._owner}
        self.command("store", "upgrade", **owner)
        self.command("store", "admit", "plant", "--as", "plant", **owner)
        for machine in self.machines:
            self.command("machines", "admit", machine.name, **owner)
        for machine in self.machines:
            machine.up()
        for machine in self.machines:
            machine.until_up()

    def stop(self) -> None:
        for machine in self.machines:
            machine.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def wait_healthy(self, model: str, seconds: float = 120) -> None:
        """Wait until every Envoy sends the model's requests to each of its servers."""
        count = len(self.machines)
        wanted = {"stable": count, "canary": count}
        until(lambda: dict(self.router.healthy(model)) == wanted, seconds, "all servers healthy")
