"""Databases and places of files of a plant, as its settings name them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from sqlalchemy import make_url

from perennial.adapters.backup import places
from perennial.local import airflow
from perennial.local.backup.manifest import STATE
from perennial.settings import Settings
from perennial.wiring.training import data_remote

STORE, MLFLOW = "perennial", "mlflow"
LOG = "log"
"""Place of the uploaded prediction log."""
SQLITE, POSTGRESQL = "sqlite", "postgresql"


class SourceDatabase(NamedTuple):
    """A database of the plant."""

    name: str
    url: str

    @property
    def kind(self) -> str:
        """Return the kind of the database: sqlite, postgresql or another."""
        return make_url(self.url).get_backend_name()

    @property
    def file(self) -> Path:
        """Return the file of an SQLite database."""
        return Path(str(make_url(self.url).database))

    def saved_as(self, state: Path) -> str:
        """Return its name in a backup: in the state folder where it lies there, else among the databases."""
        if self.kind == SQLITE and self.file.is_relative_to(state):
            return f"{STATE}/{self.file.relative_to(state).as_posix()}"
        return f"databases/{self.name}.{'sqlite' if self.kind == SQLITE else 'dump'}"


def databases(settings: Settings) -> list[SourceDatabase]:
    """Return the databases in the order of a copy: what names things before what they are made of."""
    named = {
        STORE: settings.database,
        MLFLOW: settings.mlflow_database,
        "airflow": airflow.database(settings),
        "tuning": settings.tuning_url,
    }
    return [SourceDatabase(name, url) for name, url in named.items() if url is not None and "://" in url]


def outside(settings: Settings) -> dict[str, str]:
    """Return the places of files beside the state folder that a backup copies, by name."""
    named = {
        "artifacts": settings.artifacts,
        "dvc-remote": data_remote(settings),
        LOG: settings.log_bucket,
        "exchange": settings.exchange and settings.exchange.removeprefix("file://"),
    }
    return {
        name: place
        for name, place in named.items()
        if place is not None and _is_copied(place) and not Path(place).is_relative_to(settings.state)
    }


def is_remote_copied(settings: Settings) -> bool:
    """Return whether a backup can copy the data revisions from their remote."""
    return _is_copied(data_remote(settings))


def _is_copied(place: str) -> bool:
    return places.is_address(place) or "://" not in place


def not_saved(settings: Settings) -> list[str]:
    """Return what servers elsewhere keep and no backup of ours has, each with what to do."""
    lines = []
    if settings.online_store is not None:
        lines.append("feature values in Redis: perennial features publish MODEL")
    if settings.celery_broker_url is not None:
        lines.append("Airflow's queue in Redis: Airflow queues its tasks again")
    if settings.tracking_url is not None and settings.tracking_url.rstrip("/") != settings.pages_mlflow:
        lines.append("the MLflow server of PERENNIAL_TRACKING_URL: back it up where it runs")
    if not is_remote_copied(settings):
        lines.append("the DVC remote: data revisions are saved as far as they are in DVC's cache here")
    return lines
