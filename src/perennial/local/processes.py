"""The table of processes on this machine, derived from the settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import httpx

from perennial.core.certificates.roles import of_process
from perennial.core.release.traffic import PoolName
from perennial.local import (
    airflow,
    celery_workers,
    handed_secrets,
    secured_pages,
    training_runner,
    unix_accounts,
)
from perennial.settings import LOOPBACK, PREFIX, Settings
from perennial.wiring.accounts import mlflow_certificates
from perennial.wiring.certificates import authority

CERTIFICATES, ROLE = "certificates", f"{PREFIX}INTERNAL_ROLE"
"""Process that renews certificates, and the variable with whose certificate a process has."""
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
    owner: unix_accounts.Owner | None = None
    """Account that runs it; None: whoever starts the processes."""


def status_200(url: str, headers: dict[str, str] | None = None) -> ReadinessCheck:
    def check(client: httpx.Client) -> str:
        answer = client.get(url, headers=headers)
        return "" if answer.status_code == 200 else f"{url} answers {answer.status_code}"

    return check


def listens(settings: Settings) -> ReadinessCheck:
    """Ask the public address as a client would; any answer will do while the servers behind it are starting."""
    url = f"{settings.envoy_url}/v2/health/live"

    def check(client: httpx.Client) -> str:
        httpx.get(url, verify=settings.verify, timeout=5.0, trust_env=False)
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


def table(settings: Settings) -> list[Process]:
    """Return every process of `perennial local up` in the order of display."""
    python = sys.executable
    mlflow_url = settings.pages_mlflow
    monitor_url = f"{settings.inside_scheme}://{LOOPBACK}:{settings.port_monitor}/metrics"
    bearer = {"authorization": f"Bearer {settings.internal_secret}"}
    processes = [
        Process(
            "mlflow",
            _mlflow(settings),
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
    ]
    for pool in PoolName:
        ports = zip(settings.ports(pool), settings.grpc_ports(pool), strict=True)
        processes += [_model_server(settings, pool, port, grpc_port) for port, grpc_port in ports]
    processes += [
        Process(
            "guard",
            (python, "-m", "perennial", "release", "guard"),
            always_ready,
            "guard: records in the ledger when a backup answers, and rollbacks made while tools were down",
        ),
        *([] if settings.airflow_server is not None else _airflow_server(settings)),
        _airflow(settings, "triggerer", ("--skip-serve-logs",), airflow_part(settings, "triggerer")),
        *(_worker(settings, queue, count) for queue, count in settings.workers.items()),
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
    if settings.port_alerts is not None:
        command = (python, "-m", "perennial", "notify", "receive")
        address = f"http://{LOOPBACK}:{settings.port_alerts}"
        processes.append(
            Process(
                "alerts", command, status_200(f"{address}/livez"), f"alerts of Alertmanager: {address}/alerts"
            )
        )
    processes = [process for process in processes if handed_secrets.runs_here(settings, process.name)]
    processes += _of_machines(settings)
    if settings.internal_tls is not None and authority(settings).here:
        command = (python, "-m", "perennial", "certificates", "watch")
        processes.append(
            Process(CERTIFICATES, command, always_ready, "certificates: renews those inside the plant")
        )
    accounts = unix_accounts.read(settings)
    asking = {}
    if accounts is not None and accounts.training is not None:
        processes.append(_training(settings, accounts.rest.name))
        asking = {"PERENNIAL_TRAINING_SOCKET": str(training_runner.socket_path(settings))}
    return [
        replace(
            process,
            environment=process.environment
            | _inside(settings, process.name)
            | handed_secrets.pointers(settings, process.name)
            | (asking if process.name.startswith("airflow-") else {}),
            # The keys of the authority are for no other account.
            owner=accounts.of(process.name)
            if accounts is not None and process.name != CERTIFICATES
            else None,
        )
        for process in processes
    ]


def _of_machines(settings: Settings) -> list[Process]:
    """Return the process that connects this half of the plant with the other."""
    if settings.plane == "all":
        return []
    name, command, shows = {
        "serving": ("agent", ("agent", "run"), "agent: keeps here what the control plane wants"),
        "control": (
            "machines",
            ("machines", "watch"),
            "machines: takes in what serving machines have logged",
        ),
    }[settings.plane]
    return [Process(name, (sys.executable, "-m", "perennial", *command), always_ready, shows)]


def _inside(settings: Settings, process: str) -> dict[str, str]:
    """Return the variables about the certificate of a process."""
    if settings.internal_tls is None:
        return {}
    role = of_process(process)
    return {ROLE: role.value, **mlflow_certificates(settings, role)}


def _mlflow(settings: Settings) -> tuple[str, ...]:
    if secured_pages.wanted(settings):
        return secured_pages.command("mlflow")
    return (
        sys.executable, "-m", "uvicorn", "--factory", "perennial.tracking_server.app:create_app",
        "--host", settings.host_pages, "--port", str(settings.port_mlflow),
    )  # fmt: skip


def server_name(pool: str, port: int) -> str:
    return f"server-{pool}-{port}"


def _model_server(settings: Settings, pool: str, port: int, grpc_port: int) -> Process:
    return Process(
        server_name(pool, port),
        (
            sys.executable,
            "-m",
            "perennial",
            "serve",
            "--pool",
            pool,
            "--port",
            str(port),
            "--grpc-port",
            str(grpc_port),
        ),
        status_200(f"{settings.inside_scheme}://{LOOPBACK}:{port}/livez"),
        f"model server of pool {pool}: {settings.inside_scheme}://{LOOPBACK}:{port}, gRPC {LOOPBACK}:{grpc_port}",
    )


def _training(settings: Settings, caller: str) -> Process:
    return Process(
        unix_accounts.TRAINING,
        (sys.executable, "-m", "perennial", "training", "serve", "--caller", caller),
        lambda client: "" if training_runner.listens(settings) else "takes no requests yet",
        "training: runs the training steps as an account of their own",
    )


def _worker(settings: Settings, queue: str, count: int) -> Process:
    """Return the process that runs the tasks of a queue, `count` at once."""
    name = celery_workers.node(queue)
    options = ("--queues", queue, "--concurrency", str(count), "--celery-hostname", name, "--skip-serve-logs")
    return Process(
        f"airflow-worker-{queue}",
        (sys.executable, "-m", "airflow", "celery", "worker", *options),
        lambda client: celery_workers.problem(settings, name),
        f"Airflow worker: tasks of the queue {queue}, {count} at once",
        airflow.environment(settings, "celery worker"),
        after_migration=True,
    )


def _airflow_server(settings: Settings) -> list[Process]:
    """Return the parts of Airflow that may be elsewhere: they ask nothing of this machine."""
    server = _airflow(
        settings, "api-server", ("--workers", "1"), status_200(f"{settings.airflow_url}/api/v2/version")
    )
    if secured_pages.wanted(settings):
        server = replace(server, command=secured_pages.command("airflow"))
    return [
        server,
        _airflow(settings, "scheduler", ("--skip-serve-logs",), airflow_part(settings, "scheduler")),
        _airflow(settings, "dag-processor", (), airflow_part(settings, "dag_processor")),
    ]


def _airflow(settings: Settings, part: str, options: tuple[str, ...], check: ReadinessCheck) -> Process:
    shows = f"Airflow {part}" + (f": {settings.airflow_url}" if part == "api-server" else "")
    command = (sys.executable, "-m", "airflow", part, *options)
    environment = airflow.environment(settings, part)
    return Process(f"airflow-{part}", command, check, shows, environment, after_migration=True)
