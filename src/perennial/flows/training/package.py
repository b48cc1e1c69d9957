"""What goes beside an exported model: capsule, manifest and the monitor's reference rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.core.spec import FeatureSpec, ModelSpec
from perennial.core.training.artifacts import ModelManifest
from perennial.core.training.background import Background
from perennial.core.training.capsule import Capsule, Provenance
from perennial.core.training.data import DataRevision
from perennial.core.training.explanation import ServedExplanation
from perennial.files import sha256
from perennial.flows.training.tune import TimeSplit
from perennial.flows.training.workdir import read_record, write_json, write_table
from perennial.ports import Scorer

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

REFERENCE_ROWS = 5000
"""Enough for the quantile bins of the monitor, small enough to keep with every version."""
BACKGROUND = "background.json"


def make_capsule(
    spec: ModelSpec,
    revision: DataRevision,
    source: str,
    provenance: Provenance,
    parameters: dict[str, Any],
    folder: Path,
) -> Capsule:
    """The capsule of `folder`/model.onnx."""
    return Capsule(
        code=provenance.code,
        data=revision.files,
        source=source,
        features=provenance.features,
        spec=spec.digest,
        parameters=parameters,
        constraints=provenance.constraints,
        model=sha256(folder / "model.onnx"),
    )


def write_background(spec: ModelSpec, split: TimeSplit, folder: Path) -> ServedExplanation:
    """The usual rows of an explanation: drawn from those that the monitor compares with."""
    wanted, seed = spec.explanation, spec.tuning.seed
    recent = split.everything.features[_recent(split)]
    write_json(folder / BACKGROUND, Background.drawn(spec.features.names, recent, wanted.background, seed))
    return ServedExplanation(
        background=BACKGROUND,
        background_digest=sha256(folder / BACKGROUND),
        coalitions=wanted.coalitions,
        max_rows=wanted.max_rows,
        tolerance=wanted.tolerance,
        seed=seed,
    )


def write_manifest(
    spec: ModelSpec, model: Any, capsule: Capsule, explanation: ServedExplanation, folder: Path
) -> None:
    manifest = ModelManifest(
        model=spec.name,
        digest=capsule.model,
        capsule=capsule.hash,
        feature_service=spec.features.service,
        entities=spec.features.entities,
        request=dict(spec.features.request),
        features=spec.features.names,
        columns=spec.features.columns,
        target=spec.target.column,
        threshold=spec.target.threshold,
        architecture=model.architecture,
        framework=model.framework,
        parameters=model.parameter_count(),
        bytes=(folder / "model.onnx").stat().st_size,
        explanation=explanation,
    )
    write_json(folder / "manifest.json", manifest)


def write_reference(
    spec: ModelSpec, rows: pd.DataFrame, split: TimeSplit, folder: Path, scorer: Scorer
) -> None:
    """Holdout rows only: on rows that it learnt from a model looks better than it will ever be again."""
    recent = _recent(split)
    shown = [*spec.evaluation.slices, *spec.data.sensitive]
    columns = list(dict.fromkeys([*spec.features.names, spec.target.column, spec.evaluation.group, *shown]))
    reference = rows.iloc[recent][columns].reset_index(drop=True)
    score = scorer.score(folder, split.everything.features[recent])
    write_table(folder / "reference.parquet", reference.assign(score=score))


def _recent(split: TimeSplit) -> np.ndarray:
    """Places of the newest holdout rows."""
    return (split.everything.group >= split.holdout_from).nonzero()[0][-REFERENCE_ROWS:]


def version_features(spec: ModelSpec, folder: Path) -> FeatureSpec:
    """What a version was trained on, which may be other features than the spec names today."""
    manifest = read_record(folder / "manifest.json", ModelManifest, "train")
    return spec.features.model_copy(
        update={
            "service": manifest.feature_service,
            "entities": manifest.entities,
            "columns": manifest.columns,
            "request": manifest.request,
        }
    )
