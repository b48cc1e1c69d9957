"""Recipes and ports of variants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from perennial.core.training.variants import Recipe
from perennial.settings import Settings
from perennial.wiring import releasing, training, versions
from perennial.wiring.keys import file_signer

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from perennial import ports
    from perennial.core.spec import ModelSpec
    from perennial.flows.evaluation.parent_version import VariantPorts
    from perennial.serving.onnx import Execution


def recipes(spec: ModelSpec, settings: Settings) -> list[Recipe]:
    """Return every recipe in the order to show; each finds out whether it can be made of a version."""
    from perennial.adapters.variants.conversions import conversions
    from perennial.adapters.variants.tensorrt import tensorrt

    return [*conversions(), *_learners(spec), tensorrt(settings.engines)]


def _learners(spec: ModelSpec) -> list[Recipe]:
    try:
        from perennial.models.variants import learners
    except ImportError as error:
        missing = f"{error.name} is not installed: pip install 'perennial[torch]'"
        return [Recipe(name, {}, absent=missing) for name in ("pruned", "distilled")]
    return learners(spec.tuning.epochs)


def variant_ports(spec: ModelSpec, settings: Settings) -> VariantPorts:
    from perennial.adapters.documents.figures import TrainingFigures
    from perennial.adapters.onnx_scorer import OnnxScorer
    from perennial.adapters.torch_elastic.group import together
    from perennial.adapters.variants.latency import in_turns
    from perennial.flows.evaluation.parent_version import VariantPorts
    from perennial.model_probe import model_problem
    from perennial.serving.attribution import shapley
    from perennial.serving.onnx import ON_CPU, Execution

    def execution(provider: str | None) -> Execution:
        return ON_CPU if provider is None else Execution(provider, settings.engines)

    def scorer_on(provider: str | None) -> ports.Scorer:
        return OnnxScorer(model_problem, execution=execution(provider))

    def stopwatch(
        parent: Path, variant: Path, rows: np.ndarray, provider: str | None
    ) -> tuple[np.ndarray, np.ndarray]:
        return in_turns(parent, variant, rows, execution(provider))

    return VariantPorts(
        registry=versions.registry(settings),
        tracker=training.tracker(settings),
        data=training.data_store(settings),
        features=training.features(settings),
        scorer_on=scorer_on,
        signer=file_signer(settings),
        together=together,
        figures=TrainingFigures(),
        explain=shapley,
        checks=releasing.checks,
        stopwatch=stopwatch,
        build=training.build(spec),
        provenance=training.provenance(spec, settings),
    )
