"""Register an evaluated training as the candidate version."""

from __future__ import annotations

from perennial.core.evaluation.evaluation import MODEL, Evaluation
from perennial.core.evaluation.figures_hash import PARITY, PARITY_SHARE, TAG, figures_hash
from perennial.core.spec import ModelSpec
from perennial.core.training.artifacts import ModelManifest, Trained
from perennial.core.training.registration import CHAMPION_DIGEST, REQUESTED_BY, NewVersion, VersionRecord
from perennial.core.version import Change, VersionRef
from perennial.errors import ModelFileError
from perennial.flows.training.revision import read_trained
from perennial.flows.training.workdir import Workdir, read_record, write_json
from perennial.ports import Registry
from perennial.serving.signed_files import read_listed


def register(spec: ModelSpec, work: Workdir, registry: Registry, actor: str) -> VersionRef:
    """Register the model of `work`; a repetition returns the same version.

    Args:
        actor: the requesting account, which may not approve the release of the version.

    Raises:
        DatasetMissing: `train` or `evaluate` has not run.
        NotSigned: a file of the model was changed since the training.
        ValidationFailed: the tables are not those of the revision that the training used.
        ModelFileError: the evaluation belongs to another model than the last training.
    """
    trained = read_trained(spec, work)
    manifest = read_record(work.model / "manifest.json", ModelManifest, "train")
    evaluation = read_record(work.evaluation, Evaluation, "evaluate")
    on_disk, _ = read_listed(work.model, spec.name)
    if not trained.digest == on_disk == evaluation.digest:
        raise ModelFileError(
            f"{work.folder}: trained {trained.digest[:12]}, files {on_disk[:12]}, "
            f"evaluated {evaluation.digest[:12]}",
            hint=f"run `perennial evaluate {spec.name}` after `perennial train {spec.name}`",
        )
    others = [version for version in registry.versions(spec.name) if version.run_id != trained.run_id]
    ref = registry.register(
        NewVersion(
            model=spec.name,
            run_id=trained.run_id,
            model_uri=trained.model_uri,
            digest=trained.digest,
            capsule=trained.capsule,
            change=change_since(trained.architecture, others),
            description=describe(spec, trained, evaluation),
            tags={**tags_of(trained, manifest, evaluation), REQUESTED_BY: actor},
        )
    )
    write_json(work.registered, ref)
    return ref


def change_since(architecture: str, earlier: list[VersionRecord]) -> Change:
    """Return the kind of change since the version registered last; RETRAINED for the first version."""
    if not earlier:
        return Change.RETRAINED
    last = max(earlier, key=lambda version: int(version.ref.key))
    same = last.tags.get("architecture") == architecture
    return Change.RETRAINED if same else Change.ARCHITECTURE


def describe(spec: ModelSpec, trained: Trained, evaluation: Evaluation) -> str:
    """Return the description for the registry."""
    figures = ", ".join(f"{name} {figure}" for name, figure in evaluation.scores[MODEL].items())
    why = f"{trained.reason.value}: {trained.reason_text}" if trained.reason_text else trained.reason.value
    return (
        f"{spec.description}\n\nTrained because: {why}. Data: {trained.source}, revision "
        f"{trained.revision[:12]}. Judged on {evaluation.rows} rows of the {spec.evaluation.group}s "
        f"{evaluation.first_group} to {evaluation.last_group}, held out from its training: {figures} "
        "(95 % intervals over whole groups)."
    )


def tags_of(trained: Trained, manifest: ModelManifest, evaluation: Evaluation) -> dict[str, str]:
    """Return analysis, origin and figures hash as tags; `registry_rules.FIXED` names each."""
    return {
        "architecture": trained.architecture,
        CHAMPION_DIGEST: evaluation.champion,
        "code": trained.code,
        "data.revision": trained.revision,
        "data.source": trained.source,
        # A training starts only from data that passed its checks.
        "data_checks": "passed",
        "features_hash": trained.features_hash,
        TAG: figures_hash({**evaluation.flat(), PARITY: trained.parity, PARITY_SHARE: trained.parity_share}),
        "framework": manifest.framework,
        "holdout_from": str(trained.holdout_from),
        "model.bytes": str(manifest.bytes),
        "model.input": f"{manifest.input}: float32 [batch, {len(manifest.features)}]",
        "model.output": f"{manifest.output}: float32 {manifest.task.shape}, {manifest.task.kind}",
        "model.parameters": str(manifest.parameters),
        "reason": trained.reason.value,
        "reason.text": trained.reason_text,
        "spec": trained.spec,
    }
