"""Settings -> adapters. The only place that knows which adapter stands behind a port."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial import catalog
from perennial.core.spec import ModelSpec
from perennial.core.traffic import PoolName
from perennial.errors import SpecError
from perennial.settings import Settings, load

if TYPE_CHECKING:
    from perennial import ports
    from perennial.adapters.dataset_files import DatasetFiles
    from perennial.adapters.envoy_router import EnvoyRouter
    from perennial.adapters.prometheus_metrics import MonitorMetrics
    from perennial.core.capsule import Provenance
    from perennial.core.verdict import Judgement
    from perennial.flows.lifecycle import LifecyclePorts
    from perennial.flows.release import ReleasePorts
    from perennial.history.store import HistoryStore
    from perennial.models.base import Model
    from perennial.serving.feedback_inbox import FeedbackInbox


def history_store(settings: Settings | None = None) -> HistoryStore:
    from perennial.history.store import HistoryStore

    return HistoryStore((settings or load()).history_dir)


def dataset_files(settings: Settings | None = None) -> DatasetFiles:
    from perennial.adapters.dataset_files import DatasetFiles

    settings = settings or load()
    return DatasetFiles(settings.downloads, settings.data_mirror)


def data_store(settings: Settings | None = None) -> ports.DataStore:
    from perennial.adapters.dvc_data import DvcData

    settings = settings or load()
    return DvcData(settings.data_repo, settings.dvc_remote or str(settings.state / "dvc-remote"))


def validator() -> ports.Validator:
    from perennial.adapters.gx_validator import GxValidator

    return GxValidator()


def features(settings: Settings | None = None) -> ports.Features:
    from perennial.serving.without_torch import without_torch

    with without_torch():
        from perennial.adapters.feast_features import FeastFeatures

    settings = settings or load()
    return FeastFeatures(
        settings.project / "feature_repo", settings.feast_dir, lambda: catalog.specs(settings)
    )


def tracker(settings: Settings | None = None) -> ports.Tracker:
    from perennial.adapters.mlflow_tracker import MlflowTracker

    settings = settings or load()
    return MlflowTracker(settings.tracking, settings.mlflow_dir)


def registry(settings: Settings | None = None) -> ports.Registry:
    from perennial.adapters.mlflow_registry import MlflowRegistry

    settings = settings or load()
    return MlflowRegistry(settings.tracking)


def version_search(settings: Settings | None = None) -> ports.VersionSearch:
    from perennial.adapters.mlflow_search import MlflowSearch

    return MlflowSearch((settings or load()).tracking)


def markdown_page() -> Callable[[str, str], str]:
    """title, Markdown -> an HTML page."""
    from perennial.adapters.markdown_page import page

    return page


def tuner(settings: Settings | None = None) -> ports.Tuner:
    from perennial.adapters.optuna_tuner import OptunaTuner

    settings = settings or load()
    return OptunaTuner(settings.tuning_url, settings.state / "optuna")


def figures() -> ports.Figures:
    from perennial.adapters.figures import TrainingFigures

    return TrainingFigures()


def references() -> dict[str, ports.Reference]:
    """Models that a new one is measured against, by name."""
    from perennial.adapters.reference_models import gradient_boosting, logistic_regression

    return {"logistic_regression": logistic_regression, "gradient_boosting": gradient_boosting}


def lifecycle_ports(settings: Settings | None = None) -> LifecyclePorts:
    """Everything that taking a version out of use touches."""
    from perennial.adapters.mlflow_files import MlflowFiles
    from perennial.flows.lifecycle import LifecyclePorts

    settings = settings or load()
    database, versions = store(settings), registry(settings)
    return LifecyclePorts(
        registry=versions,
        labels=versions,  # type: ignore[arg-type]
        releases=database.releases,
        ledger=database.ledger,
        files=MlflowFiles(settings.tracking),
        copies=(settings.state / "releases" / "files", settings.serving_dir / "store"),
    )


def ab_report():
    """Writes the picture and the page of an A/B analysis."""
    from perennial.adapters import ab_report as report

    return report


def labels(settings: Settings | None = None) -> ports.Labels:
    """The same adapter as `registry`, by its other port."""
    return registry(settings)  # type: ignore[return-value]


def pool(settings: Settings | None = None) -> ports.Pool:
    from perennial.adapters.bento_pool import BentoPool

    settings = settings or load()
    ports_by_pool = {name.value: settings.ports(name) for name in PoolName}
    return BentoPool(settings.serving_dir, settings.host, ports_by_pool)


def router(settings: Settings | None = None) -> EnvoyRouter:
    from perennial.adapters.envoy_config import Layout
    from perennial.adapters.envoy_router import EnvoyRouter

    settings = settings or load()
    layout = Layout(
        listen=(settings.host, settings.port_envoy),
        admin=(settings.host, settings.port_envoy_admin),
        pools={name: [(settings.host, port) for port in settings.ports(name)] for name in PoolName},
    )
    return EnvoyRouter(settings.envoy_dir, layout)


def store(settings: Settings | None = None):
    """ReleaseStore, Intents, Ledger and FeedbackStore in one: they share transactions.

    Returns an object with the attributes `releases`, `intents`, `ledger`, `feedback`.
    """
    from perennial.adapters.sql_store import SqlStore

    settings = settings or load()
    return SqlStore(settings.database)


def signer(settings: Settings | None = None) -> ports.Signer:
    """Raises SettingsError when no key is set, or the file is not a private key that only its owner reads."""
    from perennial.adapters.ed25519_keys import Ed25519Signer
    from perennial.errors import SettingsError

    key = (settings or load()).ledger_key
    if key is None:
        raise SettingsError(
            "PERENNIAL_LEDGER_KEY is not set", hint="perennial ledger keygen FILE, then set it to FILE"
        )
    return Ed25519Signer(key)


def signature_holds(public: str, message: bytes, signature: bytes) -> bool:
    from perennial.adapters.ed25519_keys import holds

    return holds(public, message, signature)


def public_key(path: Path) -> str:
    from perennial.adapters.ed25519_keys import read_public

    return read_public(path)


def new_key(path: Path) -> str:
    """Write a new private key; returns the public one."""
    from perennial.adapters.ed25519_keys import generate

    return generate(path)


class _OnFirstUse:
    """Stands for an adapter that is made when something of it is first asked for."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self._make = make
        self._made: Any = None

    def __getattr__(self, name: str) -> Any:
        if self._made is None:
            self._made = self._make()
        return getattr(self._made, name)


@functools.lru_cache(maxsize=4)
def _release_ports(settings: Settings) -> ReleasePorts:
    from perennial.flows.release import ReleasePorts

    database = store(settings)
    # MLflow takes seconds to import, and an emergency rollback moves traffic without it.
    versions: Any = _OnFirstUse(lambda: registry(settings))
    return ReleasePorts(
        releases=database.releases,
        intents=database.intents,
        ledger=database.ledger,
        feedback=database.feedback,
        predictions=prediction_log(settings),
        pool=pool(settings),
        router=router(settings),
        registry=versions,
        labels=versions,
        files=settings.state / "releases" / "files",
        checks=checks,
        spec_digest=lambda model: spec_digest(model, settings),
    )


def checks(spec: ModelSpec, files: Path) -> tuple[Judgement, ...]:
    """Every check of a candidate's files; nothing heavy is imported before the gate asks for it."""
    from perennial.adapters.file_scan import scan
    from perennial.flows.checks import CheckPorts, check

    cases = entrypoint(spec.gate.behaviour, spec) if spec.gate.behaviour is not None else ()
    return check(spec, files, CheckPorts(scorer(), scan, cases))


def spec_digest(model: str, settings: Settings) -> str | None:
    """Of gate, approval and release as the spec has them now; None where it cannot be read.

    A spec that is half edited, or gone, must not stop a release that runs under its own copy.
    """
    from perennial import catalog
    from perennial.core.release import policy_digest
    from perennial.errors import SpecError, UnknownModel

    try:
        spec = catalog.spec(model, settings)
    except (SpecError, UnknownModel):
        return None
    return policy_digest(spec.gate, spec.approval, spec.release)


def release_ports(settings: Settings | None = None) -> ReleasePorts:
    """Everything a release touches. Kept: the prediction log then reads only what is new in each pass."""
    return _release_ports(settings or load())


def prediction_log(settings: Settings | None = None) -> ports.PredictionLog:
    from perennial.serving.prediction_log import PredictionLogReader

    settings = settings or load()
    return PredictionLogReader(settings.serving_dir / "log")


def feedback_inbox(settings: Settings | None = None) -> FeedbackInbox:
    """Labels that the model servers wrote down and nobody has stored yet."""
    from perennial.serving.feedback_inbox import FeedbackInbox

    settings = settings or load()
    return FeedbackInbox(settings.serving_dir / "feedback")


def drift(settings: Settings | None = None) -> ports.DriftReporter:
    from perennial.adapters.evidently_drift import EvidentlyDrift

    return EvidentlyDrift()


def gauges() -> MonitorMetrics:
    """The monitor's figures for Prometheus."""
    from perennial.adapters.prometheus_metrics import MonitorMetrics

    return MonitorMetrics()


def scheduler(settings: Settings | None = None) -> ports.Scheduler:
    from perennial.adapters.airflow_trigger import AirflowTrigger

    settings = settings or load()
    return AirflowTrigger(settings.airflow_url, settings.airflow_user, airflow_password(settings))


def scorer() -> ports.Scorer:
    from perennial.adapters.onnx_scorer import OnnxScorer

    return OnnxScorer()


def model_class(spec: ModelSpec) -> type[Model]:
    """Import the spec's entrypoint.

    Raises:
        SpecError: the module or the class is not there, or is no Model.
    """
    from perennial.models.base import Model

    found = entrypoint(spec.entrypoint, spec)
    if not (isinstance(found, type) and issubclass(found, Model)):
        raise SpecError(f"{spec.name}: {spec.entrypoint} is no Model", hint="see perennial.models.base")
    return found


def entrypoint(address: str, spec: ModelSpec):
    """Import `module:name` named by a spec."""
    module, _, name = address.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SpecError(
            f"{spec.name}: cannot import {address}: {error}", hint="the spec names module:function"
        ) from error


def provenance(spec: ModelSpec, settings: Settings | None = None) -> Provenance:
    """Commit and hashes of the checkout that a training starts from."""
    from perennial.adapters.checkout import provenance_of

    return provenance_of((settings or load()).project, spec)


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
