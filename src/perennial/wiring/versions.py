"""Adapters of model versions, their documents, and their answers to logged requests."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.governance.identity import Role
from perennial.settings import Settings
from perennial.wiring.accounts import sign_in
from perennial.wiring.database import store
from perennial.wiring.here import trusted
from perennial.wiring.traffic import router
from perennial.wiring.training import tracker

if TYPE_CHECKING:
    from perennial import ports
    from perennial.core.governance.bom import Bom, Package
    from perennial.core.release.afresh import Afresh
    from perennial.core.spec import ModelSpec
    from perennial.core.training.registration import VersionRecord
    from perennial.flows.evaluation.offline_features import OfflineSource
    from perennial.flows.governance.documents import DocumentPorts
    from perennial.flows.governance.lifecycle import LifecyclePorts


def registry(settings: Settings, role: Role = Role.TRAINING) -> ports.Registry:
    from perennial.adapters.mlflow.registry import MlflowRegistry
    from perennial.adapters.sql.version_numbers import SqlVersionNumbers

    sign_in(settings, role)
    return MlflowRegistry(
        settings.tracking, SqlVersionNumbers(settings.database, settings.tenant).take, trusted(settings)
    )


def labels(settings: Settings, role: Role = Role.TRAINING) -> ports.Labels:
    """Return the adapter of `registry` as its other port."""
    return registry(settings, role)  # type: ignore[return-value]


def version_search(settings: Settings) -> ports.VersionSearch:
    from perennial.adapters.mlflow.search import MlflowSearch

    sign_in(settings, Role.TRAINING)
    return MlflowSearch(settings.tracking)


def lifecycle_ports(settings: Settings) -> LifecyclePorts:
    """Return the ports of retiring, archiving and purging versions."""
    from perennial.adapters.mlflow.files import MlflowFiles
    from perennial.flows.governance.lifecycle import LifecyclePorts

    database, versions = store(settings), registry(settings, Role.RELEASE)
    return LifecyclePorts(
        registry=versions,
        labels=versions,  # type: ignore[arg-type]
        releases=database.releases,
        ledger=database.ledger,
        router=router(settings),
        files=MlflowFiles(settings.tracking),
        copies=(settings.state / "releases" / "files", settings.serving_dir / "store"),
    )


def bento_builder(settings: Settings, wheel: Path | None) -> ports.BentoBuilder:
    """Return the builder of bentos.

    Args:
        wheel: of this package; None: one is built from the checkout.
    """
    from perennial.adapters.bentoml.bento import BentoFolder
    from perennial.adapters.bentoml.wheel import build_wheel

    service = settings.shipped("bentos/model_server")
    built = build_wheel if wheel is None else lambda folder: wheel
    return BentoFolder(service, settings.trusted_keys_folder, built)


def document_ports(settings: Settings) -> DocumentPorts:
    """Return the ports of model card and ML-BOM."""
    from perennial.adapters.documents.markdown_page import page
    from perennial.flows.governance.documents import DocumentPorts

    return DocumentPorts(registry(settings), store(settings).ledger, tracker(settings), page)


def bom_tools() -> tuple[Callable[[Bom], str], Callable[[str], None], Callable[[], list[Package]]]:
    """Return functions that write an ML-BOM, check an ML-BOM, and list the installed packages."""
    from perennial.adapters.documents.cyclonedx_bom import check, to_json
    from perennial.adapters.scanning.installed_packages import direct_dependencies

    return to_json, check, direct_dependencies


def ab_report():
    """Return the module that writes the picture and the page of an A/B analysis."""
    from perennial.adapters.documents import ab_report as report

    return report


def offline_source(spec: ModelSpec, settings: Settings) -> OfflineSource:
    """Return the source of the features for training."""
    from perennial.flows.evaluation.offline_features import OfflineSource
    from perennial.wiring import training

    return OfflineSource(
        features=training.features(settings),
        history=training.source(spec, settings).read,
        make=training.preparation(spec),
    )


def afresh(
    spec: ModelSpec,
    candidate: VersionRecord,
    champion: VersionRecord,
    registry: ports.Registry,
    predictions: ports.PredictionLog,
    settings: Settings,
) -> Afresh:
    """Evaluate candidate and champion on the newest labels; their tools are loaded only where that is asked."""
    from perennial.flows.release.afresh import AfreshPorts, evaluate_afresh
    from perennial.wiring import database, training

    sources = AfreshPorts(
        predictions, database.store(settings).feedback, registry,
        training.scorer(), offline_source(spec, settings),
    )  # fmt: skip
    return evaluate_afresh(spec, candidate, champion, sources)
