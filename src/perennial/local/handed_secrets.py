"""Settings that the started processes get: secrets only by files, for the processes named here."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from perennial import account_file, files
from perennial.backend_settings import CELERY, LOCAL
from perennial.core.governance.identity import Role
from perennial.errors import SettingsError
from perennial.secret_settings import SECRETS
from perennial.settings import PREFIX, Settings
from perennial.vault_settings import VaultSettings
from perennial.wiring.accounts import CERTIFICATES, mlflow_uploads
from perennial.wiring.monitoring import airflow_password

NEEDS: dict[str, tuple[str, ...]] = {
    # The first: it records changes of accounts.
    "mlflow": ("database_url", "mlflow_database_url", "oidc_client_secret", "sentry_dsn"),
    "guard": ("database_url", "encryption_keys", "sentry_dsn"),  # walks releases, which read the log
    "agent": ("database_url", "sentry_dsn"),  # a role of this serving machine
    "machines": ("database_url", "sentry_dsn"),
    "monitor": ("database_url", "airflow_password", "encryption_keys", "sentry_dsn"),
    "notifier": ("database_url", "notify", "sentry_dsn"),
    "alerts": ("database_url", "alerts_secret", "sentry_dsn"),
    "airflow-api-server": ("database_url", "oidc_client_secret"),  # records refused sign-ins
    "airflow-triggerer": ("database_url", "encryption_keys"),
    # Tasks train, publish features, register versions, gate and release.
    "airflow-scheduler": (
        "database_url",
        "tuning_url",
        "dvc_remote",
        "online_store",
        "encryption_keys",
        "sentry_dsn",
    ),
    "airflow-worker-training": ("database_url", "tuning_url", "dvc_remote", "online_store", "sentry_dsn"),
    "airflow-worker-light": ("database_url", "dvc_remote", "online_store", "encryption_keys", "sentry_dsn"),
    "training": ("tuning_url", "dvc_remote", "online_store", "sentry_dsn"),
    "server": ("online_store", "sentry_dsn"),
}
"""Process -> secret settings that it gets, each in a file of its own. All model servers have those of `server`."""
NARROWER: dict[tuple[str, str], str] = {
    ("mlflow", "database_url"): "recorder_database_url",
    ("airflow-api-server", "database_url"): "recorder_database_url",
    ("server", "online_store"): "online_store_reader",
}
"""(process, setting) -> setting whose value the process gets in its place, where it is set: it may do less."""
VAULT = tuple(VaultSettings.model_fields)
"""Settings that lead to all secrets of the vault: who starts the processes reads it, and no process does."""
ACCOUNTS: dict[str, tuple[Role, ...]] = {
    "mlflow": tuple(Role),
    "guard": (Role.TRAINING, Role.RELEASE),
    "monitor": (Role.TRAINING, Role.RELEASE),
    "airflow-scheduler": (Role.TRAINING, Role.RELEASE),
    "airflow-triggerer": (Role.TRAINING, Role.RELEASE),  # moves releases
    "airflow-worker-training": (Role.TRAINING,),
    "airflow-worker-light": (Role.TRAINING, Role.RELEASE),
    "training": (Role.TRAINING,),
}
"""Process -> roles whose accounts it gets, with their passwords, in an accounts file of its own."""
SIGNED_IN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Variables of the person who starts the processes; a training must not act as that person."""
FOREIGN = re.compile(
    r"(^|_)(SECRETS?|TOKENS?|PASSWORDS?|PASSWD|PGPASSWORD|PASSPHRASE|CREDENTIALS?|JWT|FERNET|CONN|"
    r"(API|ACCESS|PRIVATE|ACCOUNT|ENCRYPTION|FERNET|SECRET|SIGNING)_?KEY(_ID)?)(_|$)",
    re.IGNORECASE,
)
"""Names of variables of other tools that hold a secret."""
WITH_PASSWORD = re.compile(r"^[a-z][a-z0-9+.-]*://[^/@\s]*:[^/@\s]+@", re.IGNORECASE)


def base_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of every process: the caller's environment without secrets, our settings, quiet tools.

    Raises:
        SettingsError: PERENNIAL_TRACKING_URL contains a password.
    """
    if urlsplit(settings.tracking_url or "").password is not None:
        raise SettingsError(
            "PERENNIAL_TRACKING_URL contains a password, and every process gets that address",
            hint="an address without a password; the accounts are in the accounts file",
        )
    bin_folder = str(Path(sys.executable).parent)
    path, trusted = os.environ.get("PATH", ""), settings.trusted_certificates
    ours = {
        f"{PREFIX}{name.upper()}": str(getattr(settings, name))
        for name in type(settings).model_fields
        if getattr(settings, name) is not None and name not in {*SECRETS, *VAULT, "unix_accounts"}
    }
    return {
        **{name: value for name, value in os.environ.items() if not holds_secret(name, value)},
        **ours,
        "PATH": path if path.startswith(bin_folder + os.pathsep) else f"{bin_folder}{os.pathsep}{path}",
        "PERENNIAL_TRACKING_URL": settings.tracking_url or settings.pages_mlflow,
        **({CERTIFICATES: str(trusted)} if trusted is not None else {}),
        **mlflow_uploads(settings),
        "DO_NOT_TRACK": "1",
        "BENTOML_DO_NOT_TRACK": "True",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "GX_ANALYTICS_ENABLED": "false",
        "DVC_NO_ANALYTICS": "1",
        "FEAST_USAGE": "False",
        "GIT_PYTHON_REFRESH": "quiet",
        "OTEL_SDK_DISABLED": "true",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
    }


def holds_secret(name: str, value: str) -> bool:
    """Return whether a variable of the caller is kept back; the path of a file with a secret is none."""
    ours = {PREFIX + setting.upper() for setting in (*SECRETS, *VAULT)}
    if name in SIGNED_IN or name in ours or name.removesuffix("_FILE").removesuffix("_FROM") in ours:
        return True
    if name.startswith(PREFIX):
        return False
    if WITH_PASSWORD.match(value) and not name.lower().endswith("_proxy"):
        return True
    return FOREIGN.search(name) is not None and not os.path.isfile(value)


def kept_back(environment: Mapping[str, str]) -> list[str]:
    """Return the names of other tools' variables that no process gets."""
    return sorted(
        name for name, value in environment.items()
        if not name.startswith(PREFIX) and name not in SIGNED_IN and holds_secret(name, value)
    )  # fmt: skip


def pointers(settings: Settings, process: str) -> dict[str, str]:
    """Return the variables that name the files with a process's secrets and accounts."""
    if _runs_no_task(settings, process):
        return {}
    if process.startswith("server-"):
        process = "server"
    folder = _folder(settings) / process
    files_ = {
        f"{PREFIX}{name.upper()}_FILE": str(folder / name)
        for name in NEEDS.get(process, ())
        if name == "airflow_password" or getattr(settings, name)
    }
    return files_ | ({f"{PREFIX}ACCOUNTS_PATH": str(folder / "accounts.json")} if process in ACCOUNTS else {})


def handed(settings: Settings, process: str) -> dict[str, str]:
    """Return the variables that name the files that `write` has left for a process, whoever set the secrets then."""
    folder = _folder(settings) / process
    files_ = {f"{PREFIX}{name.upper()}_FILE": folder / name for name in NEEDS.get(process, ())}
    files_ |= {f"{PREFIX}ACCOUNTS_PATH": folder / "accounts.json"} if process in ACCOUNTS else {}
    return {variable: str(path) for variable, path in files_.items() if path.is_file()}


def write(settings: Settings) -> None:
    """Write the files with the processes' secrets and accounts, for their owner only, in place of earlier ones."""
    accounts = {} if settings.plane == "serving" else account_file.read(settings.accounts_file)
    shutil.rmtree(_folder(settings), ignore_errors=True)
    for process, names in NEEDS.items():
        if _runs_no_task(settings, process) or not runs_here(settings, process):
            continue
        folder = _folder(settings) / process
        for name in names:
            value = _value(settings, process, name)
            if value:
                text = value.get_secret_value() if isinstance(value, SecretStr) else value
                files.write_text(folder / name, text, files.PRIVATE)
        if process in ACCOUNTS:
            own = {name: account for name, account in accounts.items() if account.role in ACCOUNTS[process]}
            files.write_bytes(
                folder / "accounts.json", account_file.CONTENT.dump_json(own, indent=2), files.PRIVATE
            )


def _value(settings: Settings, process: str, name: str) -> SecretStr | str | None:
    """Return the value of a secret setting as a process gets it."""
    if name == "airflow_password":
        return airflow_password(settings)
    narrower = getattr(settings, NARROWER.get((process, name), name))
    return getattr(settings, name) if narrower is None else narrower


def runs_here(settings: Settings, process: str) -> bool:
    """Return whether a process belongs to the half of the plant that runs here."""
    serves = process in ("envoy", "server", "agent") or process.startswith("server-")
    return settings.plane == "all" or serves is (settings.plane == "serving")


def _runs_no_task(settings: Settings, process: str) -> bool:
    """Return whether Airflow's tasks, which need the secrets of this process, run in another."""
    if process == "airflow-scheduler":
        return settings.executor != LOCAL
    return process.startswith("airflow-worker-") and settings.executor != CELERY


def _folder(settings: Settings) -> Path:
    return settings.state / "secrets" / "processes"
