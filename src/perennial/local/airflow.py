"""Airflow's configuration: environment variables, files with secrets and passwords, database migration."""

from __future__ import annotations

import base64
import configparser
import hashlib
import hmac
import io
import json
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from perennial import account_file, files
from perennial.backend_settings import LIGHT, LOCAL
from perennial.core.certificates.roles import ProcessRole
from perennial.core.governance.identity import AIRFLOW_ROLES
from perennial.errors import SchedulerUnavailable
from perennial.settings import Settings

SECRETS = "secrets.json"
PASSWORDS = "passwords.json"
SESSIONS = "sessions.cfg"
"""Airflow's configuration with the key that signs sessions of people and of tasks."""
WORKERS = "workers.cfg"
"""Airflow's configuration with the address of the queue, and without that key."""
CONFIGURATIONS = {"api-server": SESSIONS, "scheduler": SESSIONS, "celery worker": WORKERS}
"""Part of Airflow -> its configuration; the others have `airflow.cfg`, which has neither."""
PSYCOPG = "postgresql+psycopg:"
DAY = "86400"
SQLITE_WAIT = 60
"""Seconds that a part of Airflow waits while another one writes to its SQLite file."""
PLUGINS = Path(__file__).resolve().parents[1] / "orchestration" / "plugins"
"""Folder by which every part of Airflow knows the turn of training steps, and its API server that of writers."""
BUNDLE = "airflow.dag_processing.bundles.local.LocalDagBundle"
"""Class of a folder of DAGs."""


def dags_folder(settings: Settings) -> Path:
    """Return the folder of the DAGs that every model gets; a project may bring its own edition of all of them."""
    return settings.shipped("dags/train.py").parent


def own_dags(settings: Settings) -> bool:
    """Return whether the project has DAGs beside those."""
    folder = settings.project / "dags"
    return folder.is_dir() and folder != dags_folder(settings)


def make_secrets(settings: Settings) -> dict[str, str]:
    """Return the shared keys of Airflow's components; generated once in the state folder with mode 0600."""
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
    """Write the password file of Airflow's simple auth manager.

    People have the same password as in MLflow; the password of Airflow's own account comes from the environment or
    is generated once.
    """
    path = settings.airflow_dir / PASSWORDS
    known = json.loads(path.read_text()) if path.is_file() else {}
    own = settings.airflow_password or known.get(settings.airflow_user) or secrets.token_urlsafe(15)
    accounts = account_file.read(settings.accounts_file)
    people = {name: account.password for name, account in accounts.items() if account.role in AIRFLOW_ROLES}
    wanted = {**people, settings.airflow_user: own}
    if known != wanted:
        files.write_text(path, json.dumps(wanted), files.PRIVATE)


def users(settings: Settings) -> str:
    """Return the users for Airflow's simple auth manager: name:role, comma-separated."""
    people = [
        (account.name, AIRFLOW_ROLES[account.role])
        for account in settings.accounts
        if account.role in AIRFLOW_ROLES
    ]
    return ",".join(f"{name}:{role}" for name, role in [(settings.airflow_user, "admin"), *people])


def _session_key(secret: str, settings: Settings) -> str:
    """Return the key of session tokens, which changes with the people, roles, passwords and the issuer.

    A session of Airflow contains its role and lasts a day, without a check that the account still exists.
    """
    passwords = (settings.airflow_dir / PASSWORDS).read_text()
    text = f"{users(settings)}\n{passwords}" + (f"\n{settings.oidc_issuer}" if settings.oidc_issuer else "")
    return hmac.new(secret.encode(), text.encode(), hashlib.sha512).hexdigest()


def database(settings: Settings) -> str:
    """Return the address of Airflow's database."""
    return settings.airflow_database_url or f"sqlite:///{settings.airflow_dir / 'airflow.db'}"


def make_configuration(settings: Settings) -> None:
    """Write the configuration files, readable only by their owner, with what no environment may contain.

    The parts that neither sign nor check sessions get random keys, which open nothing: Airflow refuses to start
    without any. Passwords are written before, because the key of sessions depends on them.
    """
    keys = make_secrets(settings)
    bundles = [{"name": "dags-folder", "classpath": BUNDLE, "kwargs": {}}]
    if own_dags(settings):
        bundles.append(
            {"name": "project", "classpath": BUNDLE, "kwargs": {"path": str(settings.project / "dags")}}
        )
    address = database(settings)
    if settings.airflow_database_url is None:
        # By default a request fails that has waited for five seconds, as when a hundred runs are started at once.
        address = f"{address}?timeout={SQLITE_WAIT}"
    common = {
        ("dag_processor", "dag_bundle_config_list"): json.dumps(bundles),
        ("core", "fernet_key"): keys["airflow_fernet"],
        ("database", "sql_alchemy_conn"): address,
    }
    if address.startswith(PSYCOPG):  # by default Airflow takes asyncpg here
        common["database", "sql_alchemy_conn_async"] = address
    queue = {}
    if settings.celery_broker_url is not None:
        queue = {
            ("celery", "broker_url"): settings.celery_broker_url,
            ("celery", "result_backend"): f"db+{address}",
        }
    jwt, api = ("api_auth", "jwt_secret"), ("api", "secret_key")
    session_key = _session_key(keys["airflow_jwt"], settings)
    for name, own in (
        ("airflow.cfg", {jwt: secrets.token_urlsafe(48), api: secrets.token_urlsafe(32)}),
        (WORKERS, {jwt: secrets.token_urlsafe(48), api: secrets.token_urlsafe(32), **queue}),
        (SESSIONS, {jwt: session_key, api: keys["airflow_api"], **queue}),
    ):
        parser, text = configparser.ConfigParser(interpolation=None), io.StringIO()
        for (section, key), value in (common | own).items():
            if not parser.has_section(section):
                parser.add_section(section)
            parser.set(section, key, value.replace("%", "%%"))
        parser.write(text)
        files.write_text(settings.airflow_dir / name, text.getvalue(), files.PRIVATE)


def environment(settings: Settings, part: str) -> dict[str, str]:
    """Return the environment variables of a part of Airflow; its secrets are in the files of `make_configuration`."""
    home = settings.airflow_dir
    return {
        **_certificates(settings),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONFIG": str(home / CONFIGURATIONS.get(part, "airflow.cfg")),
        "AIRFLOW__CORE__DAGS_FOLDER": str(dags_folder(settings)),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(PLUGINS),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
        **_executor(settings),
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "false",
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{settings.airflow_url}/execution/",
        "AIRFLOW__CORE__AUTH_MANAGER": "perennial.orchestration.auth_manager.GuardedAuthManager",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": users(settings),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(home / PASSWORDS),
        "AIRFLOW__API__HOST": settings.host_pages,
        "AIRFLOW__API__PORT": str(settings.port_airflow),
        # Behind a proxy Airflow has to know it, or it takes the way back to a page for one to another server.
        "AIRFLOW__API__BASE_URL": settings.oidc_airflow_url or settings.airflow_url,
        "AIRFLOW__API__WORKERS": "1",
        "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "AIRFLOW__DAG_PROCESSOR__PRINT_STATS_INTERVAL": "600",
        "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "2",
        "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        # What a step prints is what a person looks for in the log of its task.
        "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "airflow.task.hooks=INFO",
        "AIRFLOW__METRICS__STATSD_ON": "false",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "false",
    }


def _certificates(settings: Settings) -> dict[str, str]:
    """Return whom tasks trust beside the well-known authorities when they call the API server, and who they are."""
    trusted = settings.trusted_certificates
    if settings.tls_pages or settings.internal_tls is None:
        return {"AIRFLOW__API__SSL_CERT": str(trusted)} if settings.tls_pages and trusted else {}
    files_ = settings.identity_of(ProcessRole.AIRFLOW)
    return {
        "AIRFLOW__API__SSL_CERT": str(files_.trusted),
        "AIRFLOW__API__CLIENT_SSL_CERT": str(files_.chain),
        "AIRFLOW__API__CLIENT_SSL_KEY": str(files_.key),
    }


def _executor(settings: Settings) -> dict[str, str]:
    """Return the variables about what runs the tasks."""
    if settings.executor == LOCAL:
        # One place more than trainings get: a release never waits behind them.
        return {
            "AIRFLOW__CORE__EXECUTOR": LOCAL,
            "AIRFLOW__CORE__PARALLELISM": str(settings.training_slots + 1),
        }
    return {
        "AIRFLOW__CORE__EXECUTOR": settings.executor,
        "AIRFLOW__OPERATORS__DEFAULT_QUEUE": LIGHT,
        # A task may wait for its turn behind long trainings: by default ten minutes in a queue are a failure.
        "AIRFLOW__SCHEDULER__TASK_QUEUED_TIMEOUT": DAY,
        "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": DAY,
        # By default a task that a busy scheduler has not handed over within a second counts as failed.
        "AIRFLOW__CELERY__OPERATION_TIMEOUT": "10",
    }


def migrate(settings: Settings, env: Mapping[str, str]) -> None:
    """Create or upgrade Airflow's metadata database, and set the slots of its pool of trainings.

    Raises:
        SchedulerUnavailable: the migration failed; the message ends with its output.
    """
    done = subprocess.run(
        [sys.executable, "-m", "perennial.local.airflow_database", str(settings.training_slots)],
        env={**env, **environment(settings, "db")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise SchedulerUnavailable(
            f"airflow db migrate failed:\n{done.stderr[-1500:]}",
            hint="PERENNIAL_AIRFLOW_DATABASE_URL: does the server run, and does the role own its database?"
            if settings.airflow_database_url
            else f"remove {settings.airflow_dir}/airflow.db to start with an empty database",
        )
