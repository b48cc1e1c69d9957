"""Make one variant of a version, measure it beside its parent, apply the gate, and register it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from perennial.core.evaluation.evaluation import Evaluation
from perennial.core.evaluation.figures_hash import figures_hash
from perennial.core.evaluation.metrics import Estimate
from perennial.core.evaluation.variant_figures import VariantFigures, agreement, latency_ratio
from perennial.core.release import gate
from perennial.core.spec import ModelSpec
from perennial.core.training.artifacts import ModelManifest
from perennial.core.training.registration import NewVersion
from perennial.core.training.variants import (
    BATCHES,
    Lessons,
    NotMade,
    Recipe,
    variant_capsule,
    variant_key,
    variant_tags,
)
from perennial.core.version import Change, VersionRef
from perennial.errors import DataError, IncompleteExplanation, ModelFileError, ParityError, WrongAnswer
from perennial.files import sha256
from perennial.flows.evaluation.evaluate import KEPT
from perennial.flows.evaluation.parent_version import PARENT, ParentVersion, VariantPorts
from perennial.flows.evaluation.version_files import evaluate_files, score_files, show_evaluation
from perennial.flows.training.package import CAPSULE, check_parity, log_model, write_version
from perennial.flows.training.workdir import read_record, write_json
from perennial.ports import Scorer
from perennial.serving.manifest import MANIFEST_FILE, MODEL_FILE

MOST_REQUESTS = 5000
FIGURES = "variant.json"
"""File of the run of a variant."""


@dataclass(frozen=True)
class Outcome:
    """Result of a recipe."""

    recipe: str
    figures: VariantFigures | None = None
    version: VersionRef | None = None
    """None where it did not pass, or was not made."""
    failures: tuple[str, ...] = ()
    """Rules of the gate that it failed, in words."""
    not_made: str = ""
    """Reason why there is no such variant."""

    @property
    def words(self) -> str:
        """Return the result in a line."""
        if self.not_made:
            return f"not made: {self.not_made}"
        return str(self.version) if self.version is not None else f"failed: {'; '.join(self.failures)}"


@dataclass(frozen=True)
class Converted:
    """Statements of the manifest about a file that was converted, and no training has made."""

    architecture: str
    framework: str
    parameters: int

    def parameter_count(self) -> int:
        return self.parameters


def add_variant(
    spec: ModelSpec,
    parent: ParentVersion,
    recipe: Recipe,
    ports: VariantPorts,
    actor: str,
    folder: Path,
    say: Callable[[str], None],
) -> Outcome:
    """Make a variant in an empty folder; register it if it passes every rule of the gate that needs no server.

    Raises:
        NotMade: there is no such variant of this parent, or not on this machine.
    """
    files = folder / "model"
    files.mkdir()
    scorer = ports.scorer_on(recipe.provider)
    try:
        made = _made(spec, parent, recipe, ports, files)
    except ParityError as error:
        return Outcome(recipe.name, failures=(error.message,))
    capsule = variant_capsule(
        parent.record, parent.capsule, recipe, spec.digest, ports.provenance, sha256(files / MODEL_FILE)
    )
    try:
        digest = write_version(
            spec, parent.data, capsule.hash, made, scorer, ports.signer, files, recipe.provider
        )
        evaluation = evaluate_files(
            spec,
            parent.data,
            digest,
            files,
            parent.champion,
            ports.registry,
            scorer,
            {PARENT: parent.answers},
        )
    except (WrongAnswer, ModelFileError, DataError) as error:
        return Outcome(recipe.name, failures=(error.message,))
    figures, seconds = _compared(spec, parent, recipe, evaluation, files, scorer, ports)
    metrics = evaluation.flat() | figures.flat()
    manifest = read_record(files / MANIFEST_FILE, ModelManifest, "optimise")
    key = variant_key(parent.record.ref.digest, recipe, spec.variant_digest)
    tags = variant_tags(
        parent.record, recipe, spec.digest, key, manifest, evaluation.champion, figures_hash(metrics), actor
    )
    measured = parent.record.model_copy(
        update={
            "ref": parent.record.ref.model_copy(update={"digest": digest, "capsule": capsule.hash}),
            "tags": tags,
            "metrics": metrics,
        }
    )
    milliseconds = [1000 * each for each in seconds]
    report = gate.judge(spec.gate, measured, parent.champion, milliseconds, ports.checks(spec, files))
    if not report.passed:
        return Outcome(recipe.name, figures, failures=report.failures)
    name = f"{recipe.name} of {parent.record.ref.version}"
    plots = folder / KEPT
    try:
        show_evaluation(
            spec, evaluation, parent.holdout, name, files, plots, ports.figures, scorer, ports.explain, say
        )
    except IncompleteExplanation as error:
        # Integers with dynamic ranges: the largest input of a request is the unit of all its rows.
        why = "its answer to a row depends on the rows beside it"
        return Outcome(recipe.name, figures, failures=(f"explanations: {error.message}: {why}",))
    with ports.tracker.run(
        spec.name, f"{spec.name} {name}", {"reason": "variant", "reason.text": name}
    ) as run:
        uri = log_model(run, files, None, parent.holdout.features, scorer)
        run.log(
            metrics=metrics, tags={"capsule": capsule.hash, "digest": digest}, params=dict(recipe.settings)
        )
        write_json(folder / CAPSULE, capsule)
        run.artifact(folder / CAPSULE)
        write_json(folder / FIGURES, figures)
        run.artifact(folder / FIGURES)
        run.artifact(plots, KEPT)
    ref = ports.registry.register(
        NewVersion(
            model=spec.name,
            run_id=run.run_id,
            model_uri=uri,
            digest=digest,
            capsule=capsule.hash,
            change=Change.REPACKAGED,
            patch_of=parent.record.ref.version,
            candidate=False,
            description=_describe(spec, parent, name, figures),
            tags=tags,
        )
    )
    return Outcome(recipe.name, figures, ref)


def _made(spec: ModelSpec, parent: ParentVersion, recipe: Recipe, ports: VariantPorts, files: Path) -> Any:
    """Write the model file of a variant; return what the manifest says about it."""
    split, manifest = parent.data.split, parent.manifest
    if recipe.convert is not None:
        recipe.convert(parent.files / MODEL_FILE, split.training.features, files / MODEL_FILE)
        return Converted(manifest.architecture, manifest.framework, manifest.parameters)
    if recipe.learn is None:
        raise NotMade(recipe.absent)
    teacher = parent.trained_again(spec, ports)
    epochs = int(parent.capsule.parameters["epochs"])
    model = recipe.learn(teacher, Lessons(split.learn, split.validation, split.training), epochs)
    model.export(files / MODEL_FILE)
    check_parity(spec, parent.data, model, ports.scorer_on(None), files)
    return model


def _compared(
    spec: ModelSpec,
    parent: ParentVersion,
    recipe: Recipe,
    evaluation: Evaluation,
    files: Path,
    scorer: Scorer,
    ports: VariantPorts,
) -> tuple[VariantFigures, list[float]]:
    """Return the figures beside the parent, and the seconds of single requests."""
    resamples, seed = spec.evaluation.bootstrap, spec.tuning.seed
    rows, paths = parent.holdout.features, (parent.files / MODEL_FILE, files / MODEL_FILE)
    latency, medians, single = {}, {}, []
    for batch in BATCHES:
        before, after = ports.stopwatch(*paths, np.resize(rows, (batch, rows.shape[1])), recipe.provider)
        latency[batch] = latency_ratio(before, after, resamples, seed)
        medians[batch] = float(1000 * np.median(after))
        if batch == 1:
            single = after.tolist()
    figures = VariantFigures(
        agreement=min(
            (_alike(spec, parent, files, scorer, batch) for batch in BATCHES), key=lambda alike: alike.low
        ),
        gain=evaluation.gains[PARENT][spec.gate.improvement.metric],
        latency=latency,
        milliseconds=medians,
        bytes=paths[1].stat().st_size,
        parent_bytes=paths[0].stat().st_size,
    )
    return figures, single


def _alike(spec: ModelSpec, parent: ParentVersion, files: Path, scorer: Scorer, batch: int) -> Estimate:
    """Return the agreement with the parent in requests of `batch` rows, of the newest `MOST_REQUESTS` of them."""
    newest = np.arange(len(parent.holdout)) >= len(parent.holdout) - batch * MOST_REQUESTS
    answers = score_files(parent.holdout.where(newest), files, scorer, batch)
    return agreement(parent.answers.where(newest), answers, spec.evaluation.bootstrap, spec.tuning.seed)


def _describe(spec: ModelSpec, parent: ParentVersion, name: str, figures: VariantFigures) -> str:
    ratios = ", ".join(f"{ratio} at {rows} rows" for rows, ratio in figures.latency.items())
    return (
        f"{spec.description}\n\nVariant: {name} ({parent.record.ref.digest[:12]}). On {len(parent.holdout)} rows held "
        f"out from the training of its parent it answers alike on a share of {figures.agreement}; gain of "
        f"{spec.gate.improvement.metric}: {figures.gain}; latency by that of its parent: {ratios}; "
        f"{figures.bytes} bytes of {figures.parent_bytes} (95 % intervals)."
    )
