"""Ports of the training steps: train, evaluate, reproduce."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perennial.installation import SHIPPED
from perennial.settings import Settings
from perennial.wiring import training
from perennial.wiring.database import store
from perennial.wiring.keys import file_signer
from perennial.wiring.versions import registry

if TYPE_CHECKING:
    from perennial.core.spec import ModelSpec
    from perennial.flows.evaluation.evaluate import EvaluatePorts
    from perennial.flows.training.join import JoinPorts
    from perennial.flows.training.reproduce import ReproducePorts
    from perennial.flows.training.train import TrainPorts
    from perennial.ports import Tuner


def tuner(settings: Settings, shared: bool) -> Tuner:
    """Return the tuner; studies of the embedded default that processes share need SQL, the others a journal file."""
    from perennial.adapters.optuna.tuner import OptunaTuner

    folder = settings.state / "optuna"
    return OptunaTuner(
        settings.tuning_url or (f"sqlite:///{folder / 'shared.db'}" if shared else None), folder
    )


def train_ports(spec: ModelSpec, settings: Settings) -> TrainPorts:
    from perennial.adapters.documents.figures import TrainingFigures
    from perennial.adapters.torch_elastic.group import together
    from perennial.flows.training.train import TrainPorts

    return TrainPorts(
        features=training.features(settings),
        tracker=training.tracker(settings),
        tuner=tuner(settings, spec.tuning.shared),
        registry=registry(settings),
        scorer=training.scorer(),
        figures=TrainingFigures(),
        signer=file_signer(settings),
        together=together,
    )


def join_ports(settings: Settings) -> JoinPorts:
    """Return the ports of a process that takes trials: neither MLflow nor the database of releases is among them."""
    from perennial.flows.training.join import JoinPorts

    return JoinPorts(
        data=training.data_store(settings),
        features=training.features(settings),
        tuner=tuner(settings, shared=True),
    )


def evaluate_ports(settings: Settings) -> EvaluatePorts:
    from perennial.adapters.documents.figures import TrainingFigures
    from perennial.adapters.reference_models import references
    from perennial.flows.evaluation.evaluate import EvaluatePorts
    from perennial.serving.attribution import shapley  # explains at serving too

    return EvaluatePorts(
        features=training.features(settings),
        tracker=training.tracker(settings),
        registry=registry(settings),
        scorer=training.scorer(),
        figures=TrainingFigures(),
        references=references,
        explain=shapley,
    )


def reproduce_ports(spec: ModelSpec, settings: Settings) -> ReproducePorts:
    from perennial.adapters.checkout import changed_since
    from perennial.adapters.torch_elastic.group import together
    from perennial.flows.training.reproduce import ReproducePorts

    versions = registry(settings)
    return ReproducePorts(
        registry=versions,
        labels=versions,  # type: ignore[arg-type]
        ledger=store(settings).ledger,
        tracker=training.tracker(settings),
        data=training.data_store(settings),
        features=training.features(settings),
        scorer=training.scorer(),
        together=together,
        changed=lambda since: changed_since(settings.project, SHIPPED, since, spec.name),
    )
