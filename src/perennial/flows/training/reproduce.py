"""Train a version again from its capsule, in a temporary folder: registry, aliases and runs stay unchanged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from perennial.core.events import Entry, Event
from perennial.core.recalibration.attempt import RECALIBRATION_OF, is_recalibrated
from perennial.core.spec import ModelSpec
from perennial.core.training import reproduction
from perennial.core.training.capsule import Provenance
from perennial.core.training.examples import Examples
from perennial.core.training.imported import NOT_KNOWN, TRAINED_TAG, is_imported
from perennial.core.training.registration import VersionRecord
from perennial.core.training.reproduction import RULE, Reproduction
from perennial.core.training.variants import VARIANT_RECIPE, is_variant
from perennial.errors import ModelFileError, NotReproducible, OtherCode
from perennial.files import sha256
from perennial.flows.training.capsule_data import checked_capsule, fit_again, rows_of_training
from perennial.flows.training.fit import Build
from perennial.flows.training.package import version_features, version_task
from perennial.flows.training.point_in_time import as_examples
from perennial.flows.training.training_data import training_rows
from perennial.flows.versions import find_version
from perennial.ports import DataStore, Features, Labels, Ledger, Registry, Scorer, Together, Tracker


@dataclass(frozen=True)
class ReproducePorts:
    registry: Registry
    labels: Labels
    ledger: Ledger
    tracker: Tracker
    data: DataStore
    features: Features
    scorer: Scorer
    together: Together
    changed: Callable[[str], list[str] | None]
    """Commit -> files of the checkout that a training depends on and that have changed since; None if the
    checkout lacks the commit."""


def reproduce(
    spec: ModelSpec,
    which: str,
    ports: ReproducePorts,
    build: Build,
    provenance: Provenance,
    any_code: bool,
    aside: Path,
    actor: str,
    clock: Callable[[], datetime],
    say: Callable[[str], None],
) -> Reproduction:
    """Fit once with parameters, epochs, seed and data of the version, without tuning, and compare the models.

    The result is recorded in the ledger and as the version tag `reproduction`, also if it failed.

    Args:
        which: semantic version or alias.
        any_code: go on although code, spec or packages have changed since.
        aside: an empty folder for data and models.
        clock: returns the aware time.

    Raises:
        UnknownVersion: the registry has no such version.
        NotReproducible: it is imported, or a variant.
        OtherCode: code, spec or packages have changed since, and `any_code` is not set.
        ModelFileError: the capsule differs from the version, or files are missing.
        DatasetMissing, ChecksumMismatch: the data is missing or has changed.
    """
    started = clock()
    record = find_version(spec.name, which, ports.registry)
    refuse_imported(record)
    capsule = checked_capsule(record, ports.tracker)
    others = reproduction.differences(capsule, provenance, spec.digest, ports.changed(capsule.code))
    if others and not any_code:
        raise OtherCode(
            f"{record.ref} cannot be trained again as it was; others now: {'; '.join(others)}",
            hint=f"check {capsule.code[:12]} out in another folder and run it there, or use --any-code",
        )
    files = ports.registry.fetch(record.ref, aside / "version")
    columns = version_features(spec, files)
    joined = rows_of_training(spec, record, capsule, columns, ports.data, ports.features, aside / "data")
    rows = as_examples(spec, joined, columns.names)
    holdout_from = int(record.tags["holdout_from"])
    learnt = training_rows(spec, rows, holdout_from)
    holdout = rows.where(rows.group >= holdout_from)
    say(f"{record.ref}: {len(learnt)} rows train, {len(holdout)} rows compare")
    model = fit_again(spec, build, ports.together, columns.names, capsule, learnt)
    again = aside / "again"
    again.mkdir(parents=True)
    model.export(again / "model.onnx")
    if sha256(files / "model.onnx") != capsule.model:
        raise ModelFileError(
            f"model.onnx of {record.ref} is not the file that its capsule names, {capsule.model[:12]}",
            hint="restore the artifact store from its backup, or train again",
        )
    result = _compare(spec, record, capsule.model, holdout, files, again, ports.scorer, others)
    now = clock()
    result = result.model_copy(update={"seconds": round((now - started).total_seconds(), 1)})
    _record(record, result, ports, actor, now)
    return result


def refuse_imported(record: VersionRecord) -> None:
    """Refuse a version that no training here has made.

    Raises:
        NotReproducible: it is imported, or a variant or a recalibration of another version.
    """
    if is_variant(record.tags):
        raise NotReproducible(
            f"{record.ref} is a variant ({record.tags[VARIANT_RECIPE]}): no training has made it",
            hint=f"reproduce its parent; `perennial optimise {record.ref.model} PARENT` makes the same file of it",
        )
    if is_recalibrated(record.tags):
        raise NotReproducible(
            f"{record.ref} is a recalibration ({record.tags.get('reason.text')}): no training has made it",
            hint=f"reproduce the version with its weights, {record.tags[RECALIBRATION_OF][:12]}",
        )
    if is_imported(record.tags):
        raise NotReproducible(
            f"{record.ref} is imported: its training, its data and its code were never here",
            hint=f"trained: {record.tags.get(TRAINED_TAG, NOT_KNOWN)}; ask there",
        )


def _compare(
    spec: ModelSpec,
    record: VersionRecord,
    model: str,
    holdout: Examples,
    files: Path,
    again: Path,
    scorer: Scorer,
    others: tuple[str, ...],
) -> Reproduction:
    scores = [scorer.score(folder, holdout.features) for folder in (files, again)]
    task = version_task(files) if spec.task.needs_calibration else spec.task
    then, now = (
        task.scored(holdout.target, score, holdout.group, holdout.features).measure() for score in scores
    )
    metrics = reproduction.compare(then, now, spec.gate.reproduction.tolerance)
    digest = sha256(again / "model.onnx")
    return Reproduction(
        version=record.ref.version,
        digest=record.ref.digest,
        again=digest,
        model=model,
        outcome=reproduction.outcome(model, digest, metrics),
        metrics=metrics,
        score_difference=float(np.abs(scores[1].astype(float) - scores[0]).max()),
        rows=len(holdout),
        differences=others,
        seconds=0.0,
    )


def _record(
    record: VersionRecord, result: Reproduction, ports: ReproducePorts, actor: str, now: datetime
) -> None:
    """Record the result, in the ledger first: the gate reads it there, and a training job cannot write there."""
    payload = {
        "version": record.ref.version,
        "verdict": result.outcome.value,
        "why": result.summary(),
        "reproduction": result.model_dump(mode="json"),
    }
    ports.ledger.append(
        Entry(
            at=now,
            actor=actor,
            kind=Event.VERSION_REPRODUCED,
            model=record.ref.model,
            digest=record.ref.digest,
            payload=payload,
        )
    )
    text = f"{result.summary()}, {now.isoformat(timespec='seconds')} by {actor}"
    ports.labels.tag(record.ref.model, record.ref.key, {RULE: text})
