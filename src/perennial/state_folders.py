"""Folders below the state folder: each is written by a single component."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol

from pydantic import BaseModel


class HasState(Protocol):
    """Settings that name a state folder."""

    @property
    def state(self) -> Path: ...


class StateFolder:
    """An attribute of the settings: a folder below the state folder."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, settings: HasState, owner: type) -> Path:
        return settings.state / self._name


class StateFolders(BaseModel):
    """A part of the settings."""

    downloads: ClassVar = StateFolder("downloads")
    history_dir: ClassVar = StateFolder("history")
    """CI histories as ingested: <history>/<part>.parquet."""
    tables_dir: ClassVar = StateFolder("tables")
    """Tables that were imported or read from databases: <table>/<part>.parquet."""
    data_repo: ClassVar = StateFolder("data")
    """Separate git and DVC repository; a commit is a data revision."""
    quarantine: ClassVar = StateFolder("quarantine")
    feast_dir: ClassVar = StateFolder("feast")
    mlflow_dir: ClassVar = StateFolder("mlflow")
    airflow_dir: ClassVar = StateFolder("airflow")
    serving_dir: ClassVar = StateFolder("serving")
    """pools/<pool>.json (desired state), store/<digest>/ (model files), log/ (predictions)."""
    envoy_dir: ClassVar = StateFolder("envoy")
    reports: ClassVar = StateFolder("reports")
    engines: ClassVar = StateFolder("engines")
    """Engines that TensorRT has built, by GPU."""
