"""Analyse an A/B test: the live test of a model, or observations from a CSV file."""

from __future__ import annotations

import csv
import math
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from perennial.core.experiment.analysis import ExperimentAnalysis, analyse
from perennial.core.experiment.design import Kind
from perennial.core.experiment.live_experiment import Experiment
from perennial.core.experiment.posterior import Variant
from perennial.core.release.traffic import UserCounts
from perennial.core.spec import ModelSpec
from perennial.errors import DataError, MalformedInput, UsageError
from perennial.flows.experiment.gather import OUTCOME_KINDS, find_experiment, gather
from perennial.flows.feedback.ingest import Answered, Inbox, ingest
from perennial.ports import FeedbackStore, Ledger, PredictionLog, ReleaseStore

LARGEST = 1e12
"""Largest outcome, as for rewards: squared deviations are summed, and larger ones lose their precision."""


@dataclass(frozen=True)
class ExperimentPorts:
    releases: ReleaseStore
    ledger: Ledger
    predictions: PredictionLog
    feedback: FeedbackStore
    inbox: Inbox[Any]
    answered: Answered


@dataclass(frozen=True)
class LiveAnalysis:
    """Analysis of a live A/B test, with the test and its users."""

    analysis: ExperimentAnalysis
    experiment: Experiment
    units: UserCounts
    sources: Mapping[str, int]
    """Source -> its outcomes that count."""


def analyse_live(
    spec: ModelSpec,
    release_id: str | None,
    outcome: str,
    alpha: float | None,
    worth: float,
    ports: ExperimentPorts,
    now: datetime,
) -> LiveAnalysis:
    """Store the pending feedback, then compare the variants of the newest split of a model user by user.

    Args:
        release_id: None for the newest release that split its users.
        outcome: a key of `OUTCOME_KINDS`.
        alpha: probability of a wrong decision; None for 1 - release.criteria.confidence of the spec.
        worth: smallest difference of means worth a change.

    Raises:
        UnknownRelease: the model has no release with this id.
        DataError: no release has split its users, or a variant has too few outcomes.
    """
    policy = spec.release
    ingest(ports.inbox, ports.feedback, ports.answered)
    experiment = find_experiment(spec.name, release_id, ports.releases, ports.ledger, now)
    data = gather(experiment, outcome, ports.predictions, ports.feedback, policy.feedback)
    assigned = tuple(data.units.by_variant.get(variant.name, 0) for variant in data.variants)
    try:
        analysis = analyse(
            OUTCOME_KINDS[outcome], data.variants, experiment.shares,
            1.0 - policy.criteria.confidence if alpha is None else alpha,
            worth, assigned, policy.ab.mismatch,
        )  # fmt: skip
    except ValueError as error:
        raise DataError(
            f"{spec.name}, release {experiment.release_id}: {error}",
            hint="labels and rewards come by POST /v1/feedback; see --outcome",
        ) from error
    return LiveAnalysis(analysis, experiment, data.units, data.sources)


def analyse_file(
    path: Path,
    kind: Kind,
    control: str | None,
    shares: Mapping[str, float] | None,
    alpha: float,
    worth: float,
) -> ExperimentAnalysis:
    """Compare the variants of a CSV file of observations.

    Args:
        control: name of the control; None for the first name.
        shares: variant -> intended share of the assignments; None for equal shares.

    Raises:
        MalformedInput: the file is not a table of observations.
        UsageError: the control or the shares do not match the variants.
        DataError: fewer than two variants, or a variant has too few or impossible outcomes.
    """
    variants = read_variants(path)
    names = [variant.name for variant in variants]
    if control is not None and control not in names:
        raise UsageError(f"no variant {control!r}", hint=f"variants: {', '.join(names)}")
    if len(variants) < 2:
        raise DataError(f"a single variant cannot be compared: {', '.join(names)}", hint="see column arm")
    ordered = tuple(sorted(variants, key=lambda variant: (variant.name != control, variant.name)))
    shares = dict.fromkeys(names, 1.0) if shares is None else shares
    if set(shares) != set(names) or not all(0.0 < share < math.inf for share in shares.values()):
        raise UsageError(
            "--shares needs a positive share for each variant and no other",
            hint=",".join(f"{name}=50" for name in names),
        )
    try:
        return analyse(kind, ordered, tuple(shares[variant.name] for variant in ordered), alpha, worth)
    except ValueError as error:
        raise DataError(f"{path}: {error}", hint="see --kind; collect more observations") from error


def read_variants(path: Path) -> list[Variant]:
    """Return the sums of each variant, ordered by name.

    Raises:
        MalformedInput: names the line where a column is missing, a value is not a number or too large to be
            summed, or an exposure is not positive.
    """
    read: dict[str, tuple[array[float], array[float]]] = {}
    line = 1
    try:
        with path.open(newline="") as file:
            rows = csv.DictReader(file)
            for row in rows:
                line = rows.line_num
                name, outcome, exposure = _observation(row)
                outcomes, exposures = read.setdefault(name, (array("d"), array("d")))
                outcomes.append(outcome)
                exposures.append(exposure)
    except (KeyError, TypeError, ValueError, csv.Error) as error:
        raise MalformedInput(
            f"{path}, line {line}: {error}",
            hint="columns arm and outcome, and exposure for counts; outcomes are numbers",
        ) from error
    return [
        Variant.of(name, np.asarray(outcomes), np.asarray(exposures))
        for name, (outcomes, exposures) in sorted(read.items())
    ]


def _observation(row: dict[str, str]) -> tuple[str, float, float]:
    """Return variant, outcome and exposure of a row."""
    if row["arm"] is None:  # the row is too short
        raise ValueError("there is no arm")
    name, outcome, exposure = row["arm"], float(row["outcome"]), float(row.get("exposure") or 1.0)
    if not abs(outcome) <= LARGEST:  # this form also rejects NaN
        raise ValueError(f"outcome is {row['outcome']}: a number from {-LARGEST:g} to {LARGEST:g}")
    if not 0.0 < exposure <= LARGEST:
        raise ValueError(f"exposure is {row['exposure']}: a number above 0, at most {LARGEST:g}")
    return name, outcome, exposure
