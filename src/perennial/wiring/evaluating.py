"""Adapters by which versions answer logged requests again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perennial.core.spec import ModelSpec
from perennial.settings import Settings

if TYPE_CHECKING:
    from perennial import ports
    from perennial.core.release.afresh import Afresh
    from perennial.core.training.registration import VersionRecord
    from perennial.flows.evaluation.offline_features import OfflineSource


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
