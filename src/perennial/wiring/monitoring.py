"""Adapters of the monitor, of A/B analyses and of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.certificates.roles import ProcessRole, callers
from perennial.settings import Settings

if TYPE_CHECKING:
    from perennial import ports
    from perennial.adapters.prometheus.experiment_metrics import ExperimentMetrics
    from perennial.adapters.prometheus.metrics_server import ThreadingServer
    from perennial.adapters.prometheus.monitor_metrics import MonitorMetrics
    from perennial.core.spec import ModelSpec
    from perennial.flows.experiment.analyse import ExperimentPorts
    from perennial.flows.monitoring.effect import EffectPorts
    from perennial.flows.monitoring.watch import PassPorts


def pass_ports(settings: Settings) -> PassPorts:
    """Return the ports and folders of a monitoring pass."""
    from perennial.adapters.evidently_drift import EvidentlyDrift
    from perennial.flows.monitoring.monitor import MonitorFolders, MonitorPorts
    from perennial.flows.monitoring.watch import PassPorts
    from perennial.wiring import traffic, training, versions

    experiment = experiment_ports(settings)
    monitor = MonitorPorts(
        router=traffic.router(settings),
        registry=versions.registry(settings),
        tracker=training.tracker(settings),
        predictions=experiment.predictions,
        feedback=experiment.feedback,
        ledger=experiment.ledger,
        drift=EvidentlyDrift(),
        scheduler=scheduler(settings),
    )
    references = settings.state / "monitor" / "references"
    return PassPorts(monitor, experiment, MonitorFolders(references, settings.reports))


def attended(
    models: Sequence[str], settings: Settings
) -> Callable[[], Iterator[tuple[str, str, datetime, bool]]]:
    """Return what yields the last pass of each running release (`flows.release.attendance`).

    All its calls share one store, which the first makes.
    """
    from perennial.flows.release.attendance import attended
    from perennial.wiring import database

    store = cache(lambda: database.store(settings))
    return lambda: attended(models, store().releases, store().ledger)


def experiment_ports(settings: Settings) -> ExperimentPorts:
    """Return the ports of the analysis of a live A/B test."""
    from perennial.flows.experiment.analyse import ExperimentPorts
    from perennial.wiring import database, releasing

    store = database.store(settings)
    return ExperimentPorts(
        releases=store.releases,
        ledger=store.ledger,
        predictions=releasing.prediction_log(settings),
        feedback=store.feedback,
        inbox=releasing.feedback_inbox(settings),
        answered=releasing.answered(settings),
    )


def effect_ports(spec: ModelSpec, settings: Settings) -> EffectPorts:
    """Return the ports of the measurement of what a release has brought."""
    from perennial.core.governance.identity import Role
    from perennial.flows.monitoring.effect import EffectPorts
    from perennial.wiring import database, releasing, versions

    store, replay = database.store(settings), releasing.replay_ports(spec, settings)
    return EffectPorts(
        releases=store.releases,
        ledger=store.ledger,
        predictions=replay.predictions,
        feedback=store.feedback,
        registry=versions.registry(settings, Role.RELEASE),
        labels=versions.labels(settings, Role.RELEASE),
        scorer=replay.scorer,
        offline=replay.offline,
    )


def metrics_server(settings: Settings) -> type[ThreadingServer]:
    """Return the kind of server of the metrics page."""
    from perennial.adapters.prometheus.metrics_server import ThreadingServer, secured

    identity = settings.internal_identity
    if identity is None:
        return ThreadingServer
    from perennial.internal_tls.contexts import server_context

    return secured(server_context(identity), callers(ProcessRole.MONITOR))


def gauges() -> tuple[MonitorMetrics, ExperimentMetrics]:
    """Return the metrics of the monitor and of running A/B tests, exported on the same page."""
    from perennial.adapters.prometheus.experiment_metrics import ExperimentMetrics
    from perennial.adapters.prometheus.monitor_metrics import MonitorMetrics

    monitor = MonitorMetrics()
    return monitor, ExperimentMetrics(monitor.registry)


def scheduler(settings: Settings) -> ports.Scheduler:
    from perennial.adapters.airflow_trigger import AirflowTrigger

    return AirflowTrigger(
        settings.airflow_url, settings.airflow_user, airflow_password(settings), settings.verify
    )


def airflow_password(settings: Settings) -> str:
    """Return the password from the environment, else from the file that `perennial local setup` made.

    Raises:
        SettingsError: neither has a password for the user.
    """
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
