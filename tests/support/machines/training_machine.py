"""A worker of the queue `training`, of a Unix user of its own who sees nothing of the plant's folders."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from containers.native import BIN, prefix_of
from project_copy import git

from perennial import account_file
from perennial.backend_settings import CELERY, TRAINING
from perennial.core.governance.identity import Role
from perennial.secret_settings import SECRETS
from perennial.settings import Settings

WORKER = f"airflow-worker-{TRAINING}"
SAME = (
    "tracking_url", "database_url", "tuning_url", "online_store", "celery_broker_url", "airflow_database_url",
    "artifacts_url", "dvc_remote", "work_store",
)  # fmt: skip
"""Settings that it has from the plant."""


class TrainingMachine:
    """A clone of the plant's project, an own state folder, and the worker.

    Args:
        uid: of its user.
        plant: settings of the plant, whose account `training` and key that signs it gets.
        environment: of the plant's processes; what it says of S3 and Airflow holds here, too.
    """

    def __init__(self, uid: int, folder: Path, plant: Settings, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._prefix = prefix_of(uid)
        project = folder / "project"
        folder.mkdir()
        git(folder, "clone", "-q", str(plant.project), str(project))
        key = shutil.copy(plant.signing_key_file, folder / "signing.pem")
        trusted = shutil.copytree(plant.trusted_keys_folder, folder / "trusted")
        overlay = shutil.copytree(str(plant.spec_overlay), folder / "overlay")
        credentials = shutil.copy(environment["AWS_SHARED_CREDENTIALS_FILE"], folder / "s3")
        password = account_file.read(plant.accounts_file)[Role.TRAINING.value].password
        given = {name: environment[f"PERENNIAL_{name.upper()}"] for name in SAME}
        given["passwords"] = json.dumps({Role.TRAINING.value: password})
        for name in SECRETS & given.keys():
            (folder / name).write_text(given.pop(name))
            given[f"{name}_file"] = str(folder / name)
        given |= {
            "project": str(project), "home": str(folder / "state"), "spec_overlay": str(overlay),
            "signing_key": str(key), "trusted_keys": str(trusted),
            "airflow_server": plant.airflow_url, "airflow_executor": CELERY,
            "workers_training": "1", "workers_light": "0",
        }  # fmt: skip
        self._environment = {
            **{name: value for name, value in environment.items() if name.startswith(("AWS_", "AIRFLOW__"))},
            **{f"PERENNIAL_{name.upper()}": value for name, value in given.items()},
            "AWS_SHARED_CREDENTIALS_FILE": str(credentials),
            "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder),
            "USER": "trainer",  # Airflow asks for a name
            # The code under test is another user's checkout, unlike an installation.
            "GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*",
        }  # fmt: skip
        if self._prefix:
            for path in (folder, *folder.rglob("*")):
                os.chown(path, uid, uid, follow_symlinks=False)
        folder.chmod(0o700)
        self._worker: subprocess.Popen | None = None

    def up(self) -> None:
        """Start the worker as a container engine does; again after a kill."""
        if not (self.folder / "state").is_dir():
            assert self._start("local", "prepare").wait(timeout=600) == 0, self.log()
        self._worker = self._start("local", "exec", WORKER)

    def kill(self) -> None:
        """Send SIGKILL to the worker and its tasks."""
        assert self._worker is not None
        assert self._worker.poll() is None, self.log()
        os.killpg(self._worker.pid, signal.SIGKILL)
        self._worker.wait(timeout=20)

    def stop(self) -> None:
        if self._worker is not None and self._worker.poll() is None:
            self.kill()

    def log(self) -> str:
        return (self.folder / "worker.log").read_text(errors="replace")[-3000:]

    def accounts_of_worker(self) -> set[str]:
        """Return the accounts whose passwords the worker has."""
        return set(
            json.loads(
                (self.folder / "state" / "secrets" / "processes" / WORKER / "accounts.json").read_text()
            )
        )

    def _start(self, *arguments: str) -> subprocess.Popen:
        with (self.folder / "worker.log").open("ab") as output:
            return subprocess.Popen(
                [*self._prefix, sys.executable, "-m", "perennial", *arguments],
                env=self._environment, cwd=self.folder / "project", stdout=output, stderr=output,
                start_new_session=True,
            )  # fmt: skip
