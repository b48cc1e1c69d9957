"""Import a finished model: check it on a holdout, and register it as a version that claims nothing of its training."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.evaluation import checks
from perennial.core.evaluation.evaluation import CHAMPION
from perennial.core.evaluation.figures_hash import figures_hash
from perennial.core.evaluation.imported_record import ImportRequest, again, capsule_of, describe, tags_of
from perennial.core.input_spec import InputSpec
from perennial.core.spec import ModelSpec
from perennial.core.tasks.values import Label
from perennial.core.training.artifacts import ModelManifest
from perennial.core.training.data import DataRevision
from perennial.core.training.examples import Examples, first_later_group
from perennial.core.training.imported import (
    FILE_TAG,
    NOT_KNOWN,
    Description,
    Guard,
    as_labels,
    check_types,
    column_order,
)
from perennial.core.training.registration import NO_CHAMPION, NewVersion, VersionRecord
from perennial.core.version import VersionRef
from perennial.errors import ModelFileError, SpecError
from perennial.files import sha256
from perennial.flows.evaluation.checks import typical
from perennial.flows.evaluation.evaluate import KEPT
from perennial.flows.evaluation.version_files import evaluate_files, show_evaluation
from perennial.flows.training.package import CAPSULE, check_parity, log_model, write_version
from perennial.flows.training.point_in_time import as_examples, join
from perennial.flows.training.register import change_since
from perennial.flows.training.training_data import TimeSplit, TrainingData
from perennial.flows.training.workdir import read_record, write_json
from perennial.ports import Explain, Figures, Registry, Scorer, Signer, Tracker
from perennial.ports.importing import GivenModel, ServedForm
from perennial.serving.manifest import MANIFEST_FILE, MODEL_FILE

if TYPE_CHECKING:
    import pandas as pd


GUARDED = (
    "extreme or missing inputs give no valid answer: numbers are cut at ten ranges of the holdout around it, and a "
    "missing one that the spec refuses counts as the median"
)


@dataclass(frozen=True)
class ImportPorts:
    registry: Registry
    tracker: Tracker
    scorer: Scorer
    signer: Signer
    figures: Figures
    explain: Explain
    served_form: ServedForm


@dataclass(frozen=True)
class _Given:
    """The given model as far as packaging and parity ask for it."""

    answers: np.ndarray
    architecture: str
    framework: str
    parameters: int

    def parameter_count(self) -> int:
        return self.parameters

    def predict(self, features: np.ndarray) -> np.ndarray:
        return self.answers


def import_version(
    spec: ModelSpec,
    given: GivenModel,
    examples: pd.DataFrame,
    request: ImportRequest,
    ports: ImportPorts,
    before_registering: Callable[[], None],
    say: Callable[[str], None],
) -> VersionRef:
    """Import a model; the same file under the same spec gives the same version.

    Args:
        examples: the holdout, as the preparation of the spec makes it.
        before_registering: called once everything has been checked, before anything is stored.

    Raises:
        ModelFileError: the model cannot be taken, or does not fit the columns. SpecError: the model has other inputs.
        WrongTarget, WrongAnswer: a target of the holdout, or an answer, is not one of the kind of task.
        ParityError: the file to serve answers otherwise than the given model.
    """
    if spec.features.source != "request":
        raise SpecError(
            f"{spec.name} takes its features from the feature store",
            hint="import models whose caller sends the inputs (`features.source: request`)",
        )
    # No feature store: the caller sends the inputs.
    rows = join(spec, examples, None, {})  # type: ignore[arg-type]
    holdout = as_examples(spec, rows)
    inputs = _inputs(spec, given.describe(), request)
    places = [spec.features.names.index(name) for name in inputs]
    content, outputs = given.convert(inputs, np.ascontiguousarray(holdout.features[:, places]), spec.task)
    classes: Sequence[Label] | None = given.describe().classes
    if request.classes:
        classes = as_labels(request.classes, spec.task.labels)
    form = partial(
        ports.served_form, content, inputs, spec.features.names, outputs, spec.task, request.output, classes
    )
    served = form()
    say(served.words)
    answers = spec.task.checked(served.answers, len(holdout)).astype(np.float32)
    data = TrainingData(DataRevision(revision=NOT_KNOWN, files={}), NOT_KNOWN, rows, _split(spec, holdout))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "model"
        folder.mkdir()
        (folder / MODEL_FILE).write_bytes(served.onnx)
        if not _safe(spec, holdout, folder, ports.scorer):
            served = form(Guard.around(spec.features.inputs, holdout.features))
            (folder / MODEL_FILE).write_bytes(served.onnx)
            say(GUARDED)
        described = given.describe()
        taken = _Given(answers, described.architecture, described.framework, served.parameters)
        capsule = capsule_of(spec, request, sha256(folder / MODEL_FILE))
        parity = check_parity(spec, data, taken, ports.scorer, folder)
        digest = write_version(spec, data, capsule.hash, taken, ports.scorer, ports.signer, folder)
        known = _earlier(spec, request, capsule.hash, ports.registry)
        if known is not None:
            say(f"imported before as {known.ref}: its evaluation and its statement about the training stay")
            before_registering()
            return ports.registry.register(again(known))
        champion = ports.registry.find(spec.name, CHAMPION)
        evaluation = evaluate_files(spec, data, digest, folder, champion, ports.registry, ports.scorer)
        if champion is not None and evaluation.champion != NO_CHAMPION:
            say(f"compared with the champion {champion.ref.version}; either may have learnt from these rows")
        plots = Path(name) / "plots"
        show_evaluation(
            spec,
            evaluation,
            holdout,
            "imported",
            folder,
            plots,
            ports.figures,
            ports.scorer,
            ports.explain,
            say,
        )
        before_registering()
        tags = {"reason": "imported", "reason.text": request.trained, FILE_TAG: request.file}
        with ports.tracker.run(spec.name, f"{spec.name} imported", tags) as run:
            uri = log_model(run, folder, None, holdout.features, ports.scorer)
            figures = evaluation.flat() | parity.figures
            run.log(
                metrics=figures,
                tags={"capsule": capsule.hash, "digest": digest, "architecture": taken.architecture},
            )
            write_json(Path(name) / CAPSULE, capsule)
            run.artifact(Path(name) / CAPSULE)
            run.artifact(plots, KEPT)
        manifest = read_record(folder / MANIFEST_FILE, ModelManifest, "models import")
        return ports.registry.register(
            NewVersion(
                model=spec.name,
                run_id=run.run_id,
                model_uri=uri,
                digest=digest,
                capsule=capsule.hash,
                change=change_since(taken.architecture, ports.registry.versions(spec.name)),
                description=describe(spec, request, evaluation),
                tags=tags_of(spec, request, manifest, evaluation, figures_hash(figures)),
            )
        )


def _safe(spec: ModelSpec, holdout: Examples, folder: Path, scorer: Scorer) -> bool:
    """Return whether the model gives a valid answer to every input that the gate tries."""
    rows = checks.hostile_rows(typical(holdout.features))
    return not len(spec.task.wrong_rows(scorer.score(folder, rows), len(rows)))


def _inputs(spec: ModelSpec, described: Description, request: ImportRequest) -> dict[str, InputSpec]:
    known = spec.features.inputs
    if several := [name for name, given in known.items() if given.columns(name) != (name,)]:
        raise ModelFileError(
            f"{spec.name} has inputs of several columns: {', '.join(several)}",
            hint="a model is imported whose inputs are a column each: no texts and no arrays",
        )
    names = column_order(described, request.inputs, spec.features.names)
    if sorted(names) != sorted(known):
        raise ModelFileError(
            f"the model takes {', '.join(names)}; the spec of {spec.name} has the inputs {', '.join(known)}",
            hint="correct features.inputs, or import it under another name",
        )
    inputs = {name: known[name] for name in names}
    check_types(described, inputs)
    return inputs


def _split(spec: ModelSpec, holdout: Examples) -> TimeSplit:
    """Return the split of a holdout: all rows judge, but for those that an interval is calibrated on."""
    first = int(holdout.group.min())
    judged = (
        first_later_group(holdout.group, spec.tuning.validation_fraction)
        if spec.task.needs_calibration
        else first
    )
    return TimeSplit(holdout, judged, first, first)


def _earlier(
    spec: ModelSpec, request: ImportRequest, capsule: str, registry: Registry
) -> VersionRecord | None:
    """Return the version that an earlier import of the same file has made."""
    for record in reversed(registry.versions(spec.name)):
        if record.tags.get(FILE_TAG) == request.file and record.ref.capsule == capsule:
            return record
    return None
