"""Airflow's environment: everything by variables, nothing by a file of its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import subprocess
import sys

from perennial import account_file, files
from perennial.core.governance.identity import Role
from perennial.errors import SchedulerUnavailable
from perennial.settings import Settings

SECRETS = "secrets.json"
PASSWORDS = "passwords.json"
ROLES = {Role.ADMIN: "admin", Role.APPROVER: "op", Role.OPERATOR: "op", Role.VIEWER: "viewer"}
"""Airflow's word for a role. Who answers a release's question is the task's own matter: approvers only."""


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
    files.write_text(path, json.dumps(made), files.PRIVATE)
    return made


def make_passwords(settings: Settings) -> None:
    """The password file of Airflow's simple auth manager: people have the password that they have in MLflow;
    our own account's is from the environment, else generated once."""
    path = settings.airflow_dir / PASSWORDS
    known = json.loads(path.read_text()) if path.is_file() else {}
    own = settings.airflow_password or known.get(settings.airflow_user) or secrets.token_urlsafe(15)
    accounts = account_file.read(settings.accounts_file)
    people = {name: one.password for name, one in accounts.items() if one.role in ROLES}
    wanted = {**people, settings.airflow_user: own}
    if known != wanted:
        files.write_text(path, json.dumps(wanted), files.PRIVATE)


def users(settings: Settings) -> str:
    """As Airflow's simple auth manager reads them: name:role, with commas between."""
    people = [(one.name, ROLES[one.role]) for one in settings.accounts if one.role in ROLES]
    return ",".join(f"{name}:{role}" for name, role in [(settings.airflow_user, "admin"), *people])


def _session_key(secret: str, settings: Settings) -> str:
    """Another one with other people or roles: a session of Airflow carries its role, and lasts a day without
    asking who is still there."""
    return hmac.new(secret.encode(), users(settings).encode(), hashlib.sha512).hexdigest()


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
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": users(settings),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / PASSWORDS),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
        "AIRFLOW__API__HOST": settings.host,
        "AIRFLOW__API__PORT": str(settings.port_airflow),
        "AIRFLOW__API__BASE_URL": settings.airflow_url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__API__SECRET_KEY": keys["airflow_api"],
        "AIRFLOW__API_AUTH__JWT_SECRET": _session_key(keys["airflow_jwt"], settings),
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
