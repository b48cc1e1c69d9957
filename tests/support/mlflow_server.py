"""A real MLflow server with accounts, as `perennial local up` starts it, on a free loopback port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from perennial import account_file
from perennial.local import handed_secrets, supervisor
from perennial.local.handed_secrets import base_environment
from perennial.local.processes import table
from perennial.settings import Settings

PEOPLE = "ann:approver,ben:approver,olga:operator,vic:viewer"
MODEL = "rates"
DIGEST = "d" * 64


class MlflowServer:
    """Accounts, server, and clients that are signed in."""

    def __init__(self, folder: Path, **more) -> None:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.url = Settings(port_mlflow=port, **more).pages_mlflow
        self.settings = Settings(home=folder, port_mlflow=port, people=PEOPLE, tracking_url=self.url, **more)
        self.said: list[str] = []
        supervisor.set_up(self.settings, self.said.append)
        handed_secrets.write(self.settings)
        self.accounts = account_file.read(self.settings.accounts_file)
        self._log = folder / "mlflow.log"
        self._run: dict[str, str] = {}
        self._versions = 0
        self._process: subprocess.Popen | None = None

    def start(self, timeout: float = 280) -> None:
        process = next(one for one in table(self.settings) if one.name == "mlflow")
        env = {**base_environment(self.settings), **process.environment}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                process.command, env=env, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + timeout
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()[-4000:]
            assert time.monotonic() < deadline, self._log.read_text()[-4000:]
            time.sleep(0.3)

    def _answers(self) -> bool:
        try:
            health = httpx.get(f"{self.url}/health", timeout=5, verify=self.settings.verify)
            return health.status_code == 200
        except httpx.HTTPError:
            return False

    def stop(self) -> None:
        if self._process is None:
            return
        if self._process.poll() is not None:
            return
        os.killpg(self._process.pid, 15)
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, 9)
            self._process.wait()

    def memory_mb(self) -> float:
        """Resident memory of the server and its children."""
        pids = [
            path.parent.name
            for path in Path("/proc").glob("[0-9]*/stat")
            if _group(path) == self._process.pid
        ]
        return sum(_rss(pid) for pid in pids) / 1024

    def client(self, name: str) -> Client:
        return Client(self.url, (name, self.accounts[name].password))

    def files(self) -> dict[str, str]:
        """Source and run of a version: a folder of a run that training has made."""
        if not self._run:
            training = self.client("training")
            number = training.post("experiments/create", {"name": "versions"}).json()["experiment_id"]
            made = training.post("runs/create", {"experiment_id": number}).json()["run"]["info"]
            self._run = {"source": f"{made['artifact_uri']}/model", "run_id": made["run_id"]}
        return self._run

    def version(self, **tags: str) -> str:
        """A new version of the model, made by the training account; returns its key."""
        training = self.client("training")
        training.post("registered-models/create", {"name": MODEL})
        self._versions += 1
        given = {"digest": DIGEST, "capsule": "c" * 64, "semantic_version": f"1.{self._versions}.0", **tags}
        body = {
            "name": MODEL,
            **self.files(),
            "tags": [{"key": k, "value": v} for k, v in given.items()],
        }
        made = training.post("model-versions/create", body)
        assert made.status_code == 200, made.text
        return made.json()["model_version"]["version"]


class Client:
    """MLflow's REST API as one account."""

    def __init__(self, url: str, account: tuple[str, str]) -> None:
        self.http = httpx.Client(base_url=url, auth=account, timeout=60)

    def call(self, method: str, path: str, body: dict, prefix: str = "/api/2.0/mlflow/") -> httpx.Response:
        return self.http.request(method, prefix + path, json=body)

    def post(self, path: str, body: dict, prefix: str = "/api/2.0/mlflow/") -> httpx.Response:
        return self.call("POST", path, body, prefix)

    def tag(self, version: str, key: str, value: str, prefix: str = "/api/2.0/mlflow/") -> httpx.Response:
        body = {"name": MODEL, "version": version, "key": key, "value": value}
        return self.post("model-versions/set-tag", body, prefix)

    def untag(self, version: str, key: str, prefix: str = "/api/2.0/mlflow/") -> httpx.Response:
        body = {"name": MODEL, "version": version, "key": key}
        return self.call("DELETE", "model-versions/delete-tag", body, prefix)

    def tags(self, version: str) -> dict[str, str]:
        query = {"name": MODEL, "version": version}
        found = self.http.get("/api/2.0/mlflow/model-versions/get", params=query).json()["model_version"]
        return {one["key"]: one["value"] for one in found.get("tags", [])}


def _group(stat: Path) -> int:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[2])
    except OSError:
        return 0


def _rss(pid: str) -> int:
    """KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
