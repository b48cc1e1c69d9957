"""Adapters around model versions and their pages."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from perennial.core.governance.identity import Role
from perennial.settings import Settings, load
from perennial.wiring.accounts import sign_in
from perennial.wiring.database import store
from perennial.wiring.traffic import router, trusted
from perennial.wiring.training import tracker

if TYPE_CHECKING:
    from perennial import ports
    from perennial.core.governance.bom import Bom, Package
    from perennial.flows.governance.documents import DocumentPorts
    from perennial.flows.governance.lifecycle import LifecyclePorts


def registry(settings: Settings | None = None, role: Role = Role.TRAINING) -> ports.Registry:
    from perennial.adapters.mlflow.registry import MlflowRegistry

    settings = settings or load()
    sign_in(settings, role)
    return MlflowRegistry(settings.tracking, trusted(settings))


def labels(settings: Settings | None = None, role: Role = Role.TRAINING) -> ports.Labels:
    """The same adapter as `registry`, by its other port."""
    return registry(settings, role)  # type: ignore[return-value]


def version_search(settings: Settings | None = None) -> ports.VersionSearch:
    from perennial.adapters.mlflow.search import MlflowSearch

    settings = settings or load()
    sign_in(settings, Role.TRAINING)
    return MlflowSearch(settings.tracking)


def lifecycle_ports(settings: Settings | None = None) -> LifecyclePorts:
    """Everything that taking a version out of use touches."""
    from perennial.adapters.mlflow.files import MlflowFiles
    from perennial.flows.governance.lifecycle import LifecyclePorts

    settings = settings or load()
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


def document_ports(settings: Settings | None = None) -> DocumentPorts:
    """Everything that a model card and an ML-BOM are made of."""
    from perennial.adapters.documents.markdown_page import page
    from perennial.flows.governance.documents import DocumentPorts

    settings = settings or load()
    return DocumentPorts(registry(settings), store(settings).ledger, tracker(settings), page)


def bom_tools() -> tuple[Callable[[Bom], str], Callable[[str], None], Callable[[], list[Package]]]:
    """Writes an ML-BOM, checks one, and says what is installed."""
    from perennial.adapters.documents.cyclonedx_bom import check, to_json
    from perennial.adapters.scanning.installed_packages import direct_dependencies

    return to_json, check, direct_dependencies


def ab_report():
    """Writes the picture and the page of an A/B analysis."""
    from perennial.adapters.documents import ab_report as report

    return report
