"""Checks of what else the settings name: remote of the data, online store, tuning storage, channels, traces."""

from __future__ import annotations

import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

from perennial.errors import PerennialError
from perennial.local.doctor.finding import Finding, State, attempt, problem
from perennial.settings import Settings
from perennial.wiring import notifying, training

CONNECT_SECONDS = 5.0
PORTS = {"postgresql": 5432, "mysql": 3306, "redis": 6379, "rediss": 6379, "http": 80, "https": 443}


def data_remote(settings: Settings) -> Iterator[Finding]:
    """Check that the DVC remote answers, with the credentials that DVC would use."""
    yield attempt("data remote", lambda: training.data_store(settings).remote_state())  # type: ignore[attr-defined]


def online_store(settings: Settings) -> Iterator[Finding]:
    """Check that the online values of the features can be read, or that their Redis listens."""
    if settings.online_store is not None:
        yield from _server("online store", "PERENNIAL_ONLINE_STORE", settings.online_store)
        return
    file = settings.feast_dir / "online.db"
    if not file.is_file():
        yield Finding("online store", State.OK, "no features are published yet")
        return
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    except sqlite3.Error as error:
        fix = f"remove {file}, then perennial features publish"
        yield Finding("online store", State.PROBLEM, f"{file}: {error}", fix)
        return
    views = {name.removesuffix("__packed") for (name,) in names}  # a view has a packed table, too
    yield Finding("online store", State.OK, f"{len(views)} views can be read")


def channels(settings: Settings) -> Iterator[Finding]:
    """Check that apprise understands each channel, and that mail servers and webhooks listen. Sends nothing."""
    if not settings.notify_addresses:
        yield Finding("messages", State.OK, "no channel is set")
        return
    try:
        servers = notifying.notifier(settings).servers()  # type: ignore[attr-defined]
    except PerennialError as error:
        yield problem("messages", error)
        return
    for channel, server in servers.items():
        if server is None:
            yield Finding(
                f"channel {channel}", State.OK, "understood; whether it delivers: perennial notify test"
            )
        else:
            yield _listening(f"channel {channel}", *server, "PERENNIAL_NOTIFY: address, firewall")


def addresses(settings: Settings) -> Iterator[Finding]:
    """Check that the servers of other settings listen."""
    for check, variable, url in (
        ("traces", "PERENNIAL_OTLP_TRACES", settings.otlp_traces),
        ("tuning storage", "PERENNIAL_TUNING_URL", settings.tuning_url),
        ("MLflow's database", "PERENNIAL_MLFLOW_DATABASE_URL", settings.mlflow_database_url),
        ("Airflow's database", "PERENNIAL_AIRFLOW_DATABASE_URL", settings.airflow_database_url),
        ("queues", "PERENNIAL_CELERY_BROKER_URL", settings.celery_broker_url),
    ):
        yield from _server(check, variable, url or "")


def _server(check: str, variable: str, url: str) -> Iterator[Finding]:
    """Check that the server of an address listens; nothing where the address names none."""
    parts = urlsplit(url)
    port = parts.port or PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname is not None and port is not None:
        yield _listening(check, parts.hostname, port, f"{variable}: address, firewall")


def _listening(check: str, host: str, port: int, fix: str) -> Finding:
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return Finding(check, State.PROBLEM, f"{host}:{port} does not answer: {error.strerror or error}", fix)
    return Finding(check, State.OK, f"{host}:{port} listens")
