"""Adapters that watch, and that start a DAG."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from perennial.settings import Settings, load

if TYPE_CHECKING:
    from perennial import ports
    from perennial.adapters.prometheus.experiment_metrics import ExperimentMetrics
    from perennial.adapters.prometheus.monitor_metrics import MonitorMetrics


def drift(settings: Settings | None = None) -> ports.DriftReporter:
    from perennial.adapters.evidently_drift import EvidentlyDrift

    return EvidentlyDrift()


def gauges() -> MonitorMetrics:
    """The monitor's figures for Prometheus."""
    from perennial.adapters.prometheus.monitor_metrics import MonitorMetrics

    return MonitorMetrics()


def experiment_gauges(beside: MonitorMetrics) -> ExperimentMetrics:
    """The figures of running A/B tests, on the monitor's page."""
    from perennial.adapters.prometheus.experiment_metrics import ExperimentMetrics

    return ExperimentMetrics(beside.registry)


def scheduler(settings: Settings | None = None) -> ports.Scheduler:
    from perennial.adapters.airflow_trigger import AirflowTrigger

    settings = settings or load()
    return AirflowTrigger(settings.airflow_url, settings.airflow_user, airflow_password(settings))


def airflow_password(settings: Settings) -> str:
    """From the environment, else from the file that `perennial local setup` made."""
    import json

    from perennial.errors import SettingsError

    if settings.airflow_password:
        return settings.airflow_password
    path: Path = settings.airflow_dir / "passwords.json"
    try:
        return json.loads(path.read_text())[settings.airflow_user]
    except (OSError, KeyError) as error:
        raise SettingsError(
            f"no Airflow password for {settings.airflow_user!r}",
            hint=f"set PERENNIAL_AIRFLOW_PASSWORD, or run `make setup` to generate {path}",
        ) from error
