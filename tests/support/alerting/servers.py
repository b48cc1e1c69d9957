"""A Prometheus and an Alertmanager on free loopback ports, with the generated files."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
from serving_stack import free_ports, until

from alerting.programs import ALERTMANAGER, AMTOOL, PROMETHEUS, program, run
from perennial.adapters.alerting.generated import Plan, files
from perennial.adapters.alerting.scraping import Addresses, SecretFiles, Timing
from perennial.core.spec import ModelSpec
from perennial.flows.monitoring import rule_files

LOCAL = "127.0.0.1"
PATIENCE = 120


class AlertingServers:
    """Both programs, told of a monitor's page and of a receiver.

    Args:
        monitor: port of the monitor's page.
        receiver: port of the receiver.
        secrets: folder of the files `internal` and `alerts`.
    """

    def __init__(
        self,
        folder: Path,
        specs: Sequence[ModelSpec],
        monitor: int,
        receiver: int,
        secrets: Path,
        timing: Timing,
    ) -> None:
        prometheus, alertmanager = free_ports(2)
        self.addresses = Addresses(
            monitor=f"{LOCAL}:{monitor}",
            servers={},
            prometheus=f"{LOCAL}:{prometheus}",
            alertmanager=f"{LOCAL}:{alertmanager}",
            receiver=f"http://{LOCAL}:{receiver}/alerts",
        )
        seen = SecretFiles(str(secrets / "internal"), str(secrets / "alerts"))
        rule_files.write(files(Plan(specs, self.addresses, seen, "docs/guide", timing)), folder)
        self._folder = folder
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> AlertingServers:
        configured = self._folder / "prometheus"
        commands = (
            [
                program(ALERTMANAGER), f"--config.file={configured / 'alertmanager.yaml'}",
                f"--storage.path={self._folder / 'alertmanager'}", "--cluster.listen-address=",
                f"--web.listen-address={self.addresses.alertmanager}",
            ],
            [
                program(PROMETHEUS), f"--config.file={configured / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self._folder / 'tsdb'}", f"--web.listen-address={self.addresses.prometheus}",
            ],
        )  # fmt: skip
        try:
            for command in commands:
                with (self._folder / f"{Path(command[0]).name}.log").open("ab") as log:
                    self._processes.append(subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT))
            for address in (self.addresses.alertmanager, self.addresses.prometheus):
                until(lambda address=address: self._is_ready(address), PATIENCE, f"{address} is ready")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait(timeout=60)

    def query(self, expr: str) -> list[dict]:
        """Return the series of an instant query."""
        answer = httpx.get(
            f"http://{self.addresses.prometheus}/api/v1/query",
            params={"query": expr},
            trust_env=False,
            timeout=30,
        )
        return answer.raise_for_status().json()["data"]["result"]

    def alerts(self, **labels: str) -> list[dict]:
        """Return the alerts that Alertmanager holds, with their states."""
        filters = [f'{name}="{value}"' for name, value in labels.items()]
        answer = httpx.get(
            f"http://{self.addresses.alertmanager}/api/v2/alerts",
            params={"filter": filters},
            trust_env=False,
            timeout=30,
        )
        return answer.raise_for_status().json()

    def amtool(self, *arguments: str) -> str:
        return run(AMTOOL, f"--alertmanager.url=http://{self.addresses.alertmanager}", *arguments)

    def wait(self, condition: Callable[[], object], what: str) -> None:
        until(condition, PATIENCE, what)

    def _is_ready(self, address: str) -> bool:
        for process in self._processes:
            assert process.poll() is None, "\n".join(
                log.read_text()[-2000:] for log in self._folder.glob("*.log")
            )
        try:
            return httpx.get(f"http://{address}/-/ready", trust_env=False, timeout=5).is_success
        except httpx.HTTPError:
            return False
