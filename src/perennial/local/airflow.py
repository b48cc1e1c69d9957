"""Airflow's environment: everything by variables, nothing by a file of its own."""

from __future__ import annotations

import base64
import json
import os
import secrets
import subprocess
import sys
from pathlib import Path

from perennial.errors import SchedulerUnavailable
from perennial.settings import Settings

SECRETS = "secrets.json"


def private_file(path: Path, content: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as handle:
        handle.write(content)
    os.replace(temporary, path)


def make_secrets(settings: Settings) -> dict[str, str]:
    """Keys that Airflow's parts share; made once, kept in the state folder with mode 0600."""
    path = settings.state / SECRETS
    if path.is_file():
        return json.loads(path.read_text())
    made = {
        "airflow_jwt": secrets.token_urlsafe(48),
        "airflow_api": secrets.token_urlsafe(32),
        "airflow_fernet": base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
    }
    private_file(path, json.dumps(made))
    return made


def make_password(settings: Settings) -> None:
    """The password file of Airflow's simple auth manager: from the environment, else generated once."""
    path = settings.airflow_dir / "passwords.json"
    known = json.loads(path.read_text()) if path.is_file() else {}
    wanted = settings.airflow_password or known.get(settings.airflow_user) or secrets.token_urlsafe(12)
    if known.get(settings.airflow_user) != wanted:
        private_file(path, json.dumps(known | {settings.airflow_user: wanted}))


def environment(settings: Settings) -> dict[str, str]:
    """The variables that each Airflow process gets."""
    keys = make_secrets(settings)
    home = settings.airflow_dir
    return {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(settings.project / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "4",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "AIRFLOW__CORE__FERNET_KEY": keys["airflow_fernet"],
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": f"{settings.airflow_user}:admin",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / "passwords.json"),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__API__HOST": settings.host,
        "AIRFLOW__API__PORT": str(settings.port_airflow),
        "AIRFLOW__API__BASE_URL": settings.airflow_url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": keys["airflow_api"],
        "AIRFLOW__API_AUTH__JWT_SECRET": keys["airflow_jwt"],
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__PRINT_STATS_INTERVAL": "600",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__METRICS__STATSD_ON": "false",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
    }


def migrate(settings: Settings, env: dict[str, str]) -> None:
    """Create or upgrade Airflow's metadata database.

    Raises:
        SchedulerUnavailable: the migration failed; the end of its output is in the message.
    """
    done = subprocess.run(
        [sys.executable, "-m", "airflow", "db", "migrate"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SchedulerUnavailable(
            f"airflow db migrate failed:\n{done.stderr[-1500:]}",
            hint=f"look at {settings.airflow_dir}; remove airflow.db there to start anew",
        )
