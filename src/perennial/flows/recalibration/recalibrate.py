"""Recalibrate the champion: fit to its newest labels, prove the gain on later ones, register a version."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from perennial.core.evaluation.imported_record import again
from perennial.core.events import Event
from perennial.core.governance.out_of_use import out_of_use
from perennial.core.monitoring.worth.effect import Measure, paired_difference
from perennial.core.recalibration.attempt import (
    Recalibration,
    attempts,
    confidence,
    is_proven,
    recalibration_entry,
    unreleased,
)
from perennial.core.recalibration.calibration import Form, fit, form_of, losses
from perennial.core.spec import ModelSpec
from perennial.core.training.registration import VersionRecord
from perennial.core.training.variants import may_replace
from perennial.errors import DataError, NotRecalibrable, UnknownVersion
from perennial.flows.evaluation.offline_features import OfflineSource
from perennial.flows.recalibration.labelled import LabelledAnswers, read_labelled
from perennial.flows.recalibration.version import ATTEMPT, VersionPorts, register_recalibration
from perennial.flows.recalibration.weights import Weights, fetch_weights
from perennial.flows.training.package import REFERENCE
from perennial.flows.training.workdir import read_record, read_table
from perennial.flows.versions import find_version
from perennial.ports import FeedbackStore, Ledger, PredictionLog, Router


@dataclass(frozen=True)
class RecalibrationPorts:
    router: Router
    ledger: Ledger
    predictions: PredictionLog
    feedback: FeedbackStore
    offline: OfflineSource
    version: VersionPorts


def recalibrate(
    spec: ModelSpec,
    ports: RecalibrationPorts,
    actor: str,
    now: datetime,
    dry_run: bool,
    say: Callable[[str], None],
) -> Recalibration:
    """Attempt a recalibration of the champion.

    A version that an earlier call made beside the same champion, and that no release has judged, is returned again.
    The ledger comes last: killed before it, the next call finds that version and writes the entry.

    Args:
        dry_run: fit and judge only; nothing is stored, and the attempt does not count.

    Raises:
        NotRecalibrable: the spec has it off, the kind of task has none, or there are too few labels.
        DataError: no version has traffic, or the labels are all the same.
        UnknownVersion: the registry no longer has the champion or the version with its weights.
    """
    form = _form(spec)
    champion = _champion(spec, ports)
    rows = ports.ledger.rows(spec.name)
    usable = [
        version
        for version in ports.version.registry.versions(spec.name)
        if out_of_use(rows, version.ref.digest) is None
    ]
    made = unreleased(usable, rows, champion.ref.digest)
    if made is not None:
        return _made_before(made, ports, actor, record=not dry_run, say=say)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = fetch_weights(champion, ports.version.registry, folder / "weights")
        live = folder / "champion"
        if weights.record.ref.digest == champion.ref.digest:
            live = weights.files
        else:
            ports.version.registry.fetch(champion.ref, live)
        known = read_labelled(
            spec,
            weights,
            champion,
            live,
            ports.predictions,
            ports.feedback,
            ports.version.scorer,
            ports.offline,
            now,
        )
        result = _attempted(
            spec, form, weights, champion, known, attempts(rows, champion.ref.digest) + 1, now
        )
        if dry_run:
            return result
        if result.proven:
            ref = register_recalibration(
                spec, weights, champion, result, known, ports.version, actor, folder / "new", say
            )
            result = result.model_copy(update={"version": ref.version, "digest": ref.digest})
    ports.ledger.append(recalibration_entry(result, actor))
    return result


def _form(spec: ModelSpec) -> Form:
    if not spec.recalibration.enabled:
        raise NotRecalibrable(
            f"{spec.name}: recalibration is off in its spec",
            hint="set recalibration: {enabled: true} in its spec, and read docs/guide/recalibration.md",
        )
    form = form_of(spec.task)
    if form is None:
        raise NotRecalibrable(
            f"{spec.name}: a {spec.task.kind} has no calibration here", hint=f"perennial retrain {spec.name}"
        )
    return form


def _champion(spec: ModelSpec, ports: RecalibrationPorts) -> VersionRecord:
    route = ports.router.route(spec.name)
    if route is None:
        raise DataError(f"no version of {spec.name} has traffic", hint=f"perennial release start {spec.name}")
    record = find_version(spec.name, route.stable.version, ports.version.registry)
    if record.ref.digest != route.stable.digest:
        raise UnknownVersion(
            f"{spec.name} {route.stable.version} has another digest in the registry than the live route",
            hint=f"perennial why {spec.name}",
        )
    return record


def _attempted(
    spec: ModelSpec,
    form: Form,
    weights: Weights,
    champion: VersionRecord,
    known: LabelledAnswers,
    attempt: int,
    now: datetime,
) -> Recalibration:
    """Fit on the earlier requests and judge on the later ones."""
    later = known.later
    if form is not Form.NUMBER and len(np.unique(known.label[~later])) < 2:
        raise DataError(f"all labels of {spec.name} that would fit are the same", hint="wait for others")
    scale = _scale(spec, weights, form)
    calibration = fit(
        form, known.trained[~later], known.label[~later], spec.recalibration.largest_change * scale
    )
    mapped = calibration.apply(known.trained)
    old, new = (losses(form, answers[later], known.label[later]) for answers in (known.champion, mapped))
    gain = paired_difference(Measure.LOSS, old, new, known.request[later], confidence(attempt))
    return Recalibration(
        at=now,
        model=spec.name,
        champion=champion.ref.version,
        champion_digest=champion.ref.digest,
        of=weights.record.ref.version,
        of_digest=weights.record.ref.digest,
        attempt=attempt,
        learnt=int((~later).sum()),
        judged=int(later.sum()),
        calibration=calibration,
        largest_seen=float(spec.task.change(known.trained, mapped, 1.0).max()),
        gain=gain,
        proven=is_proven(gain),
    )


def _scale(spec: ModelSpec, weights: Weights, form: Form) -> float:
    """Return the unit of the largest change: 1 of a probability, the target's deviation in the reference rows."""
    if form is not Form.NUMBER:
        return 1.0
    values = read_table(weights.files / REFERENCE, "train")[weights.manifest.target].to_numpy()
    return spec.task.scale(spec.task.targets(values, weights.manifest.target))


def _made_before(
    made: VersionRecord, ports: RecalibrationPorts, actor: str, record: bool, say: Callable[[str], None]
) -> Recalibration:
    """Return the attempt that made a version; a kill may have left out the end of its registration and its entry."""
    with tempfile.TemporaryDirectory() as folder:
        ports.version.tracker.files(made.run_id, "", Path(folder))
        result = read_record(Path(folder) / ATTEMPT, Recalibration, "recalibrate")
    result = result.model_copy(update={"version": made.ref.version, "digest": made.ref.digest})
    say(f"made before as {made.ref}; no release has judged it")
    if record:
        registry = ports.version.registry
        candidate = may_replace(registry.find(made.ref.model, "candidate"), made)
        registry.register(again(made).model_copy(update={"candidate": candidate}))
        known = ports.ledger.rows(made.ref.model, kinds=(Event.RECALIBRATED,))
        if made.ref.digest not in {row.entry.digest for row in known}:
            ports.ledger.append(recalibration_entry(result, actor))
    return result
