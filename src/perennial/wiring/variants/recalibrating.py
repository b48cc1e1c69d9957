"""Ports of a recalibration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perennial.settings import Settings
from perennial.wiring import database, releasing, traffic, training, versions
from perennial.wiring.keys import file_signer

if TYPE_CHECKING:
    from perennial.core.spec import ModelSpec
    from perennial.flows.recalibration.recalibrate import RecalibrationPorts


def recalibration_ports(spec: ModelSpec, settings: Settings) -> RecalibrationPorts:
    from perennial.adapters.documents.figures import TrainingFigures
    from perennial.adapters.variants.calibrated import write_calibrated
    from perennial.flows.recalibration.recalibrate import RecalibrationPorts
    from perennial.flows.recalibration.version import VersionPorts
    from perennial.serving.attribution import shapley

    store = database.store(settings)
    return RecalibrationPorts(
        router=traffic.router(settings),
        ledger=store.ledger,
        predictions=releasing.prediction_log(settings),
        feedback=store.feedback,
        offline=versions.offline_source(spec, settings),
        version=VersionPorts(
            registry=versions.registry(settings),
            tracker=training.tracker(settings),
            scorer=training.scorer(),
            signer=file_signer(settings),
            figures=TrainingFigures(),
            explain=shapley,
            write_calibrated=write_calibrated,
        ),
    )
