"""The table of processes on this machine, derived from the settings."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from pydantic import SecretStr

from perennial.core.release.traffic import PoolName
from perennial.local import airflow
from perennial.settings import LOOPBACK, Settings
from perennial.wiring.accounts import CERTIFICATES

ReadinessCheck = Callable[[httpx.Client], str]
"""Returns an empty text when the process is ready, else the reason why not."""


@dataclass(frozen=True)
class Process:
    """A supervised process."""

    name: str
    command: tuple[str, ...]
    check: ReadinessCheck
    shows: str
    environment: dict[str, str] = field(default_factory=dict)
    after_migration: bool = False


def status_200(url: str, headers: dict[str, str] | None = None) -> ReadinessCheck:
    def check(client: httpx.Client) -> str:
        answer = client.get(url, headers=headers)
        return "" if answer.status_code == 200 else f"{url} answers {answer.status_code}"

    return check


def listens(settings: Settings) -> ReadinessCheck:
    """Ask the public address as a client would; any answer will do while the servers behind it are starting."""
    url, verify = f"{settings.envoy_url}/v2/health/live", settings.verify

    def check(client: httpx.Client) -> str:
        httpx.get(url, verify=verify, timeout=5.0, trust_env=False)
        return ""

    return check


def always_ready(client: httpx.Client) -> str:
    """Accept a process without an address; supervisord watches whether it runs."""
    return ""


def airflow_part(settings: Settings, part: str) -> ReadinessCheck:
    def check(client: httpx.Client) -> str:
        answer = client.get(f"{settings.airflow_url}/api/v2/monitor/health").json()
        state = (answer.get(part) or {}).get("status")
        return "" if state == "healthy" else f"{part} is {state or 'not there yet'}"

    return check


SECRET = ("passwords", "airflow_password", "admin_password", "token")
"""Settings that no process gets: each process reads the account that it needs from the accounts file."""
SIGNED_IN = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Variables of the person who starts the processes; a training must not act as that person."""


def base_environment(settings: Settings) -> dict[str, str]:
    """Return the environment of every process: the caller's environment without accounts, our settings, quiet tools.

    Other secrets stay in the environment and are not written to any file.
    """
    bin_folder = str(Path(sys.executable).parent)
    path, trusted = os.environ.get("PATH", ""), settings.trusted_certificates
    fields = type(settings).model_fields
    ours = {
        f"PERENNIAL_{name.upper()}": str(getattr(settings, name))
        for name in fields
        if getattr(settings, name) is not None
        and name not in SECRET
        and not isinstance(getattr(settings, name), SecretStr)
    }
    kept_back = {*SIGNED_IN, *(f"PERENNIAL_{name.upper()}" for name in SECRET)}
    return {
        **{name: value for name, value in os.environ.items() if name not in kept_back},
        **ours,
        "PATH": path if path.startswith(bin_folder + os.pathsep) else f"{bin_folder}{os.pathsep}{path}",
        "PERENNIAL_TRACKING_URL": settings.tracking_url or settings.pages_mlflow,
        **({CERTIFICATES: str(trusted)} if trusted is not None else {}),
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
        **airflow.environment(settings),
    }


def table(settings: Settings) -> list[Process]:
    """Return every process of `perennial local up` in the order of display."""
    python = sys.executable
    mlflow_url = settings.pages_mlflow
    monitor_url = f"http://{LOOPBACK}:{settings.port_monitor}/metrics"
    bearer = {"authorization": f"Bearer {settings.internal_secret}"}
    processes = [
        Process(
            "mlflow",
            (
                python, "-m", "mlflow", "server", "--app-name", "perennial", "--workers", "1",
                "--host", settings.host_pages, "--port", str(settings.port_mlflow),
                "--backend-store-uri", f"sqlite:///{settings.mlflow_dir / 'mlflow.db'}",
                "--default-artifact-root", str(settings.mlflow_dir / "artifacts"), "--no-serve-artifacts",
                *_tls_of_mlflow(settings),
            ),
            status_200(f"{mlflow_url}/health"),
            f"MLflow: runs, versions, approval: {mlflow_url}",
            {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
        ),
        Process(
            "envoy",
            (python, "-m", "perennial", "router", "run"),
            listens(settings),
            f"Envoy: predictions enter here: {settings.envoy_url}",
        ),
    ]  # fmt: skip
    for pool in PoolName:
        processes += [_model_server(settings, pool, port) for port in settings.ports(pool)]
    processes += [
        Process(
            "guard",
            (python, "-m", "perennial", "release", "guard"),
            always_ready,
            "guard: records in the ledger when a backup answers, and rollbacks made while tools were down",
        ),
        _airflow(
            settings,
            "api-server",
            ("--workers", "1", *airflow.tls_options(settings)),
            status_200(f"{settings.airflow_url}/api/v2/version"),
        ),
        _airflow(settings, "scheduler", ("--skip-serve-logs",), airflow_part(settings, "scheduler")),
        _airflow(settings, "dag-processor", (), airflow_part(settings, "dag_processor")),
        _airflow(settings, "triggerer", ("--skip-serve-logs",), airflow_part(settings, "triggerer")),
        Process(
            "monitor",
            (python, "-m", "perennial", "monitor", "watch"),
            status_200(monitor_url, bearer),
            f"monitor: drift and accuracy for Prometheus: {monitor_url}",
        ),
    ]
    if settings.notify_addresses:
        command = (python, "-m", "perennial", "notify", "watch")
        processes.append(Process("notifier", command, always_ready, "notifier: mail, chat, webhooks"))
    return processes


def _tls_of_mlflow(settings: Settings) -> tuple[str, ...]:
    if settings.pages_tls is None:
        return ()
    certificate, key = settings.pages_tls
    return (
        "--uvicorn-opts",
        shlex.join(("--ssl-certfile", str(certificate), "--ssl-keyfile", str(key))),
    )


def server_name(pool: str, port: int) -> str:
    return f"server-{pool}-{port}"


def _model_server(settings: Settings, pool: str, port: int) -> Process:
    return Process(
        server_name(pool, port),
        (sys.executable, "-m", "perennial", "serve", "--pool", pool, "--port", str(port)),
        status_200(f"http://{LOOPBACK}:{port}/livez"),
        f"model server of pool {pool}: http://{LOOPBACK}:{port}",
    )


def _airflow(settings: Settings, part: str, options: tuple[str, ...], check: ReadinessCheck) -> Process:
    shows = f"Airflow {part}" + (f": {settings.airflow_url}" if part == "api-server" else "")
    command = (sys.executable, "-m", "airflow", part, *options)
    return Process(f"airflow-{part}", command, check, shows, after_migration=True)
