"""The record of an imported version: capsule, description and tags, which claim nothing about its training."""

from __future__ import annotations

from dataclasses import dataclass

from perennial.core.evaluation.evaluation import MODEL, Evaluation
from perennial.core.evaluation.figures_hash import TAG
from perennial.core.spec import ModelSpec
from perennial.core.training.artifacts import ModelManifest
from perennial.core.training.capsule import Capsule
from perennial.core.training.imported import FILE_TAG, NOT_KNOWN, TRAINED_TAG
from perennial.core.training.registration import CHAMPION_DIGEST, REQUESTED_BY, NewVersion, VersionRecord
from perennial.core.version import Change


@dataclass(frozen=True)
class ImportRequest:
    """Statements of the person who imports a model."""

    file: str
    """SHA-256 of the file as it was given."""
    trained: str
    """Place and person of the training, as the importer says."""
    actor: str
    inputs: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    output: str | None = None


def capsule_of(spec: ModelSpec, request: ImportRequest, model: str) -> Capsule:
    """Return the capsule; `model` is the SHA-256 of the served file."""
    return Capsule(
        code=NOT_KNOWN,
        data={},
        source=NOT_KNOWN,
        features=NOT_KNOWN,
        spec=spec.digest,
        parameters={FILE_TAG: request.file},
        constraints=NOT_KNOWN,
        model=model,
    )


def again(known: VersionRecord) -> NewVersion:
    """Return the registration of a known version again, which a killed import may not have finished."""
    return NewVersion(
        model=known.ref.model,
        run_id=known.run_id,
        model_uri="",
        digest=known.ref.digest,
        capsule=known.ref.capsule,
        change=Change.RETRAINED,
        description="",
    )


def describe(spec: ModelSpec, request: ImportRequest, evaluation: Evaluation) -> str:
    """Return the description for the registry."""
    figures = ", ".join(f"{name} {figure}" for name, figure in evaluation.scores[MODEL].items())
    return (
        f"{spec.description}\n\nImported; trained: {request.trained}, says {request.actor}. Nothing about its training "
        f"is known here. Judged on {evaluation.rows} rows that {request.actor} gave as a holdout; whether it learnt "
        f"from them is not known: {figures} (95 % intervals over whole groups)."
    )


def tags_of(
    spec: ModelSpec, request: ImportRequest, manifest: ModelManifest, evaluation: Evaluation, figures: str
) -> dict[str, str]:
    """Return the tags of the version; `figures` is the hash of its figures."""
    unknown = ("code", "data.revision", "data.source", "data_checks", "features_hash")
    return {
        **dict.fromkeys(unknown, NOT_KNOWN),
        "architecture": manifest.architecture,
        CHAMPION_DIGEST: evaluation.champion,
        TAG: figures,
        "framework": manifest.framework,
        "model.bytes": str(manifest.bytes),
        "model.input": f"{manifest.input}: float32 [batch, {len(manifest.features)}]",
        "model.output": f"{manifest.output}: float32 {manifest.task.shape}, {manifest.task.kind}",
        "model.parameters": str(manifest.parameters),
        "reason": "imported",
        "reason.text": request.trained,
        "spec": spec.digest,
        FILE_TAG: request.file,
        TRAINED_TAG: request.trained,
        REQUESTED_BY: request.actor,
    }
