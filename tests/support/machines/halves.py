"""The two halves of a plant: a control plane on PostgreSQL and S3, and serving machines of other Unix users."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import signing
from backends.servers import BUCKET, S3, Postgres
from serving_stack import free_ports, until, variables

from machines.serving_machine import FIRST_UID, LEASE, ROOT, ServingMachine
from perennial.settings import Settings
from perennial.wiring import traffic


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
                name, FIRST_UID + number, self.folder / name, exchange,
                {"database_url": databases.address(name, "perennial")}, signing.FOLDER, bucket,
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
