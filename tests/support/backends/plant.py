"""A control plane on real servers with one small model, two serving machines and one that trains; no common disk."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import signing
from backends.servers import BUCKET, S3, Postgres, Redis
from machines.serving_machine import FIRST_UID, LEASE, ServingMachine
from machines.training_machine import TrainingMachine
from project_copy import ROOT, git
from serving_stack import free_ports

from perennial.cli import main
from perennial.core.release.status import Intent, IntentKind, ReleaseStatus
from perennial.demo.airflow_watch import AirflowWatch
from perennial.errors import PerennialError
from perennial.history.simulator import SimulationScenario, simulate
from perennial.history.store import HistorySource, HistoryStore
from perennial.local import supervisor, supervisord
from perennial.settings import Settings
from perennial.wiring import database, monitoring, traffic

MODEL = "test_failure_predictor"
TRAIN, RELEASE = f"train_{MODEL}", f"release_{MODEL}"
LIMIT = 900.0
"""Seconds for anything on a busy machine."""
FILES = ("configs/models", "configs/expectations", "configs/features", "configs/datasets.yaml",
         "configs/sources.yaml", "feature_repo")  # fmt: skip
POLICY: dict[str, Any] = {
    "tuning": {"trials": 2, "epochs": 3},
    "evaluation": {"bootstrap": 20, "retrain_train_fraction": 0.9},
    # A model that has seen forty cycles is a bad one; what it passes through is the same.
    "gate": {
        "metrics": {"roc_auc": {"min": 0.1}, "brier": {"max": 0.9}},
        "improvement": {"metric": "roc_auc", "min_delta": -0.9},
        "latency_p95_ms": 5000, "slice_drop": 1.0, "behaviour": None,
        "checks": {"noise": 0.1, "noise_change": 1.0, "missing": 0.05, "missing_change": 1.0},
    },
    "approval": {"low_risk": 1, "medium_risk": 1, "high_risk": 1},
    "release": {
        "shadow": "PT5S",
        "steps": [{"weight": 20, "duration": "PT10S"}, {"weight": 50, "duration": "PT10S"}],
        "hold": "PT5S",
        "criteria": {"min_requests": 20, "error_rate_increase": 0.4, "latency_p95_floor_ms": 5000},
        "unsure_after": "PT5M",
    },
    "monitoring": {"every": "PT10S", "label_delay": "PT10S", "window": 400, "min_window": 200, "client_share": 1},
    "retraining": {"cooldown": "PT1H"},
    "explanation": {"sample": 20},
}  # fmt: skip
FIRST_CYCLES, CYCLES = 40, 50
MACHINES = ("serving_a", "serving_b")


class Plant:
    """A project of one model whose processes use the servers of the production profile, and its other machines.

    Args:
        folder: becomes the project; `folder/state` is the state folder of the control plane.
    """

    def __init__(self, folder: Path, databases: Postgres, redis: Redis, bucket: S3) -> None:
        self.folder = folder
        overlay = folder / "overlay"
        overlay.mkdir(parents=True)
        (overlay / f"{MODEL}.yaml").write_text(json.dumps(POLICY))
        self._make_project()
        ports = [str(port) for port in free_ports(3)]
        self._owner, self._databases, self._bucket = databases.address("perennial"), databases, bucket
        given = {
            "project": folder, "home": "state", "spec_overlay": overlay, "actor": "ann",
            "plane": "control", "exchange": f"s3://{BUCKET}/exchange", "machine_lease": LEASE,
            "database_url": databases.address("plant", "perennial"),
            "recorder_database_url": databases.address("recorder", "perennial"),
            "mlflow_database_url": databases.address("mlflow"),
            "airflow_database_url": databases.address("airflow"),
            "tuning_url": databases.address("optuna"),
            "celery_broker_url": redis.address,
            "online_store": redis.address.removesuffix("/0") + "/1",
            "artifacts_url": f"s3://{BUCKET}/mlflow",
            "dvc_remote": f"s3://{BUCKET}/dvc",
            "work_store": f"s3://{BUCKET}/work", "workers_training": "0",
            "log_bucket": f"s3://{BUCKET}/log", "log_local_days": "1",
            "trusted_keys": signing.FOLDER, "signing_key": signing.Key().write(folder / "signing.pem"),
            "port_mlflow": ports[0], "port_airflow": ports[1], "port_monitor": ports[2],
            "tracking_url": f"http://127.0.0.1:{ports[0]}",
        }  # fmt: skip
        self.settings = Settings.model_validate(given)
        foreign = ("PERENNIAL_", "AIRFLOW", "MLFLOW_")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(foreign)},
            **bucket.environment,
            **{f"PERENNIAL_{name.upper()}": str(value) for name, value in given.items()},
            # By default five minutes: a test waits for it.
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        }
        self.machines: list[ServingMachine] = []
        self.trainer: TrainingMachine | None = None
        self._machines_folder = Path(tempfile.mkdtemp(prefix="perennial-machines-"))
        self.history = simulate(SimulationScenario(cycles=CYCLES, tests=80))

    def start(self) -> None:
        self.add_cycles(FIRST_CYCLES)
        self._admit()
        with ThreadPoolExecutor(1) as beside:
            machines = beside.submit(self._start_machines)
            # It gives up after four minutes; given again, it waits on.
            self.until(lambda: self.ask("local", "up").returncode == 0, "every process")
            machines.result()
        self._start_trainer()
        self.store = database.store(self.settings)
        self.airflow = AirflowWatch(
            self.settings.airflow_url, self.settings.airflow_user, monitoring.airflow_password(self.settings)
        )

    def _start_machines(self) -> None:
        self._machines_folder.chmod(0o711)  # other users reach their own folder, unlike pytest's
        for number, name in enumerate(MACHINES):
            secrets = {
                "database_url": self._databases.address(name, "perennial"),
                "online_store": str(self.environment["PERENNIAL_ONLINE_STORE"]),
            }
            machine = ServingMachine(
                name, FIRST_UID + number, self._machines_folder / name,
                str(self.settings.exchange), secrets, signing.FOLDER, self._bucket,
            )  # fmt: skip
            self.machines.append(machine)
            machine.up()
        for machine in self.machines:
            machine.until_up()

    def _start_trainer(self) -> None:
        """Start the machine that trains, whose account the plant has made by now."""
        uid, folder = FIRST_UID + len(MACHINES), self._machines_folder / "trainer"
        self.trainer = TrainingMachine(uid, folder, self.settings, self.environment)
        self.trainer.up()

    def stop(self) -> None:
        for machine in self.machines:
            machine.stop()
        if self.trainer is not None:
            self.trainer.stop()
        supervisor.down(self.settings, lambda line: None, timeout=LIMIT)
        shutil.rmtree(self._machines_folder, ignore_errors=True)

    def add_cycles(self, until: int) -> None:
        """Add the CI cycles up to `until` to the history."""
        source = HistorySource(source="simulator", why="for a test", at=datetime.now(UTC))
        known = self.history[self.history["cycle"] <= until]
        HistoryStore(self.settings.history_dir).append("ci", known, source)

    def entities(self, count: int) -> list[dict[str, str]]:
        """Return some tests of the history, as requests name them."""
        tests = self.history[["test_id", "suite"]].drop_duplicates().head(count)
        return [{str(name): str(value) for name, value in row.items()} for row in tests.to_dict("records")]

    def ask(self, *line: str, **given: str) -> subprocess.CompletedProcess[str]:
        """Give a command as a person does, with further variables."""
        command = [sys.executable, "-m", "perennial", *line]
        return subprocess.run(
            command, env={**self.environment, **given}, cwd=self.folder, capture_output=True, text=True,
            timeout=LIMIT, check=False,
        )  # fmt: skip

    def run(self, *line: str) -> str:
        """Give a command that must succeed; returns what it prints."""
        done = self.ask(*line)
        assert done.returncode == 0, f"{' '.join(line)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process of the control plane and its group; supervisord starts it again."""
        os.killpg(supervisord.states(self.settings)[name]["pid"], signal.SIGKILL)

    def wait_servers(self) -> None:
        """Wait until every model server is up, and the Envoy of its machine sends requests to it."""
        for machine in self.machines:
            machine.until_up()
        router = traffic.router(self.settings)
        wanted = dict.fromkeys(("stable", "canary"), len(self.machines))
        self.until(lambda: dict(router.healthy(MODEL)) == wanted, "all model servers")

    def shown(self, name: str) -> bytes:
        """Return the command line and the environment of a process, as /proc shows them."""
        folder = Path(f"/proc/{supervisord.states(self.settings)[name]['pid']}")
        return (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()

    def release(self) -> ReleaseStatus | None:
        releases = self.store.releases.latest(MODEL)
        return releases[0] if releases else None

    def say(self, status: ReleaseStatus, kind: IntentKind) -> None:
        """Steer a release as a person does."""
        self.store.intents.put(
            Intent(
                id=f"{status.release_id}-{kind.value}", release_id=status.release_id, kind=kind, actor="bob",
                at=datetime.now(UTC), digest=status.candidate.digest, channel="cli",
            )
        )  # fmt: skip

    def _admit(self) -> None:
        """Make the tables and admit every role, by the commands of their owner."""
        with pytest.MonkeyPatch.context() as patch:
            for name, value in {**self.environment, "PERENNIAL_DATABASE_URL": self._owner}.items():
                patch.setenv(name, value)
            assert main(["store", "upgrade"]) == 0
            for role in ("plant", "recorder"):
                assert main(["store", "admit", role, "--as", role]) == 0
            for name in MACHINES:
                assert main(["machines", "admit", name]) == 0

    def tasks(self) -> Mapping[str, str]:
        """Return the state of each task of the newest training."""
        return self.airflow.tasks(TRAIN, self.airflow.runs(TRAIN)[0]["dag_run_id"])

    def until(self, condition: Callable[[], Any], what: str, seconds: float = LIMIT) -> Any:
        """Poll; a server that does not answer for now is no failure. Returns the first true value."""
        deadline = time.monotonic() + seconds
        seen: object = None
        while time.monotonic() < deadline:
            try:
                if value := condition():
                    return value
            except (PerennialError, httpx.HTTPError, OSError, LookupError) as error:
                seen = error
            time.sleep(0.5)
        raise AssertionError(f"waited {seconds:.0f} s for {what}; {seen!r}\n{self.ends_of_logs()}")

    def ends_of_logs(self) -> str:
        logs = sorted((self.settings.state / "logs").glob("*.log"))
        logs += sorted(self._machines_folder.glob("*/*.log"))
        return "\n".join(f"{path.name}: {path.read_text(errors='replace')[-800:]}" for path in logs)

    def _make_project(self) -> None:
        for name in FILES:
            source, copy = ROOT / name, self.folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(source, copy) if source.is_dir() else shutil.copy2(source, copy)
        for path in (self.folder / "configs" / "models").glob("*.yaml"):
            if path.stem != MODEL:
                path.unlink()
        (self.folder / ".gitignore").write_text("state/\noverlay/\ndata/\nsigning.pem\n")
        git(self.folder, "init", "-q")
        git(self.folder, "add", "-A")
        git(self.folder, "commit", "-qm", "a project")
