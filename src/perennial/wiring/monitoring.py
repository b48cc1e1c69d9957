"""Adapters of the monitor, of A/B analyses and of the scheduler."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.certificates.roles import ProcessRole, callers
from perennial.core.release.traffic import PoolName
from perennial.installation import LOOPBACK
from perennial.settings import Settings
from perennial.wiring.certificates import page_verify
from perennial.wiring.machines import CONTROL
from perennial.wiring.notifying import ALERTS_PATH, ALERTS_PORT

if TYPE_CHECKING:
    from perennial import ports
    from perennial.adapters.prometheus.experiment_metrics import ExperimentMetrics
    from perennial.adapters.prometheus.metrics_server import ThreadingServer
    from perennial.adapters.prometheus.monitor_metrics import MonitorMetrics
    from perennial.adapters.prometheus.pages import Page
    from perennial.core.monitoring.budget.alarm_budget import AlarmBudget
    from perennial.core.performance.report import PerformanceReport
    from perennial.core.spec import ModelSpec
    from perennial.core.tasks import Task
    from perennial.flows.experiment.analyse import ExperimentPorts
    from perennial.flows.monitoring.back_test import BackTestPorts
    from perennial.flows.monitoring.effect import EffectPorts
    from perennial.flows.monitoring.performance import ReportPorts
    from perennial.flows.monitoring.watch import PassPorts


def pass_ports(settings: Settings) -> PassPorts:
    """Return the ports and folders of a monitoring pass."""
    from perennial.adapters.evidently_drift import EvidentlyDrift
    from perennial.flows.monitoring.following.early import EarlyLooks
    from perennial.flows.monitoring.following.watched_log import WatchedLog
    from perennial.flows.monitoring.monitor import MonitorFolders, MonitorPorts
    from perennial.flows.monitoring.watch import PassPorts
    from perennial.wiring import database, releasing, traffic, training, versions

    experiment = experiment_ports(settings)
    watched = WatchedLog(releasing.growing_log(settings))
    monitor = MonitorPorts(
        router=traffic.router(settings),
        registry=versions.registry(settings),
        tracker=training.tracker(settings),
        predictions=experiment.predictions,
        watched=watched,
        early=EarlyLooks(watched),
        feedback=experiment.feedback,
        ledger=experiment.ledger,
        drift=EvidentlyDrift(),
        scheduler=scheduler(settings),
        detectors=database.store(settings).detectors,
        budget=alarm_budget(settings),
        references=cheap_models,
    )
    references = settings.state / "monitor" / "references"
    return PassPorts(monitor, experiment, MonitorFolders(references, settings.reports))


def alarm_budget(settings: Settings) -> AlarmBudget:
    """Return the plant's budgets of false alarms and false drift warnings over all models."""
    from perennial import catalog
    from perennial.core.monitoring.budget.alarm_budget import AlarmBudget

    return AlarmBudget(
        alarms_a_month=settings.false_alarms_per_month,
        drift_warnings_a_month=settings.false_drift_warnings_per_month,
        models=tuple(sorted(catalog.names(settings))),
    )


def cheap_models(task: Task) -> Mapping[str, ports.Reference]:
    """Return the models of the back-test by name; scikit-learn is loaded at the first alarm only."""
    from perennial.adapters.reference_models import references

    return references(task)


def back_test_ports(settings: Settings) -> BackTestPorts:
    """Return the ports of a back-test; it needs neither MLflow nor Airflow."""
    from perennial.flows.monitoring.back_test import BackTestPorts
    from perennial.wiring import database, releasing, traffic

    return BackTestPorts(
        router=traffic.router(settings),
        predictions=releasing.prediction_log(settings),
        feedback=database.store(settings).feedback,
        references=cheap_models,
    )


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
    from perennial.wiring import database, releasing, training, versions

    store = database.store(settings)
    return EffectPorts(
        releases=store.releases,
        ledger=store.ledger,
        predictions=releasing.prediction_log(settings),
        feedback=store.feedback,
        registry=versions.registry(settings, Role.RELEASE),
        labels=versions.labels(settings, Role.RELEASE),
        scorer=training.scorer(),
        offline=versions.offline_source(spec, settings),
    )


def report_ports(settings: Settings) -> ReportPorts:
    """Return the ports of the performance report."""
    from perennial.adapters.business_query import business_metric
    from perennial.adapters.fairlearn_groups import group_figures
    from perennial.flows.monitoring.performance import ReportPorts
    from perennial.wiring import database, live_checks, releasing, traffic

    store = database.store(settings)
    return ReportPorts(
        router=traffic.router(settings),
        predictions=releasing.prediction_log(settings),
        feedback=store.feedback,
        ledger=store.ledger,
        group_figures=group_figures,
        business=business_metric,
        checks=live_checks.kept(settings),
    )


def report_writer() -> Callable[[PerformanceReport, Path], tuple[Path, Path]]:
    """Return what writes the page and the figures of a performance report into a folder."""
    from perennial.adapters.documents.performance_page import write_report

    return write_report


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


def freshness(specs: Sequence[ModelSpec], settings: Settings) -> Callable[[], dict[str, datetime]]:
    """Return what tells the time of the newest stored feature value by model."""
    from perennial.adapters.feast.freshness import by_model

    return lambda: by_model(settings.feast_dir, specs)


def pages(settings: Settings) -> dict[str, Page]:
    """Return the further pages of the monitor: Envoy of this machine, if it runs here, and MLflow and Airflow."""
    from perennial.adapters.alerting.scraping import ENVOY_PATH, PARTS_PATH
    from perennial.adapters.envoy.admin import EnvoyAdmin
    from perennial.adapters.envoy.measurements import EXPORTED
    from perennial.adapters.prometheus.pages import PartHealth, server

    parts = PartHealth(
        mlflow=server(settings.mlflow_url, page_verify(settings, ProcessRole.MLFLOW)),
        airflow=server(settings.airflow_url, page_verify(settings, ProcessRole.AIRFLOW)),
    )
    if settings.plane == CONTROL:
        return {PARTS_PATH: parts.page}
    envoy = EnvoyAdmin(settings.envoy_admin)
    return {PARTS_PATH: parts.page, ENVOY_PATH: lambda: envoy.exposition(EXPORTED)}


def alert_files(
    settings: Settings, secrets: Path | None, guide: str, prometheus: str, alertmanager: str
) -> dict[str, str]:
    """Return the text of each generated file of alerting by its path.

    Args:
        secrets: folder of the files `internal` and `alerts`; None: where the containers see them.
        guide: address of the guide.

    Raises:
        SpecError: a spec is wrong; a model without alerts would go unnoticed.
    """
    from perennial import catalog
    from perennial.adapters.alerting.generated import Plan, files
    from perennial.adapters.alerting.scraping import Addresses, SecretFiles

    specs, wrong = catalog.read_all(settings)
    for error in wrong.values():
        raise error
    certificates = settings.internal_tls
    addresses = Addresses(
        monitor=f"{LOOPBACK}:{settings.port_monitor}",
        servers={pool: tuple(f"{LOOPBACK}:{port}" for port in settings.ports(pool)) for pool in PoolName},
        prometheus=prometheus,
        alertmanager=alertmanager,
        receiver=f"http://{LOOPBACK}:{settings.port_alerts or ALERTS_PORT}{ALERTS_PATH}",
        certificates=None if certificates is None else str(certificates / ProcessRole.PROMETHEUS),
    )
    seen = (
        SecretFiles("/state/perennial/secrets/internal", "/run/secrets/alerts_secret")
        if secrets is None
        else SecretFiles(str(secrets.absolute() / "internal"), str(secrets.absolute() / "alerts"))
    )
    return files(Plan(specs, addresses, seen, guide))


def scheduler(settings: Settings) -> ports.Scheduler:
    from perennial.adapters.airflow_trigger import AirflowTrigger

    return AirflowTrigger(
        settings.airflow_url,
        settings.airflow_user,
        airflow_password(settings),
        page_verify(settings, ProcessRole.AIRFLOW),
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
