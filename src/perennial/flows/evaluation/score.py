"""Score a registered version on a file with the schema of the history, so that anyone can check it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.evaluation.evaluation import MODEL, Evaluation, evaluate_scores
from perennial.core.feature_spec import FeatureSpec
from perennial.core.spec import ModelSpec
from perennial.core.tasks import Scored
from perennial.core.training.examples import Examples, first_later_group
from perennial.core.training.registration import VersionRecord
from perennial.errors import DataError, UnknownVersion
from perennial.flows.evaluation.evaluate import as_scored, baseline_scores
from perennial.flows.training.package import version_features, version_task
from perennial.flows.training.point_in_time import as_examples, join
from perennial.flows.training.prepare import Prepared
from perennial.flows.versions import find_version
from perennial.ports import Features, Registry, Scorer

if TYPE_CHECKING:
    import pandas as pd

DEFAULT_VERSIONS = ("champion", "candidate")
"""Aliases to try, in this order, if no version is named."""


def score_history(
    spec: ModelSpec,
    version: str | None,
    history: pd.DataFrame,
    since: int | None,
    make: Callable[[pd.DataFrame], Prepared],
    features: Features,
    registry: Registry,
    scorer: Scorer,
    folder: Path,
) -> tuple[Evaluation, str]:
    """Evaluate a version on the groups from `since` on; earlier groups only build features.

    Args:
        version: semantic version, alias or `key:N`; None for the champion, else the candidate.
        since: first scored group; None for the first group after the `train_fraction` of the spec.
        folder: empty; the version is fetched into it.

    Returns:
        The evaluation against the baselines of the spec, and the display name of the version.

    Raises:
        UnknownVersion: the registry has no such version.
        DataError: there is no group to score, or all rows have the same verdict.
    """
    record = find_version(spec.name, version, registry) if version else _default(spec.name, registry)
    files = registry.fetch(record.ref, folder)
    prepared = make(history)
    first = first_scored_group(spec, prepared, since)
    scored, joined, own = score_later_groups(spec, files, prepared, first, features, scorer)
    if not own.same_values(spec.features):  # the baselines use the features that the spec names now
        joined = join(spec, prepared.examples, features, prepared.views)
    examples: Examples = as_examples(spec, joined)
    early, later = examples.where(examples.group < first), examples.where(examples.group >= first)
    evaluation = evaluate_scores(
        record.ref.digest,
        {MODEL: scored, **as_scored(spec, later, baseline_scores(spec, early, later))},
        {},
        spec.gate.improvement.metric,
        spec.evaluation.slice_min_rows,
        spec.evaluation.bootstrap,
        spec.tuning.seed,
    )
    return evaluation, str(record.ref)


def first_scored_group(spec: ModelSpec, prepared: Prepared, since: int | None) -> int:
    """Return the first group to score, by default the first group after the `train_fraction` of the spec.

    Raises:
        DataError: there is no group from `since` on.
    """
    group = prepared.examples[spec.evaluation.group].to_numpy()
    first = first_later_group(group, spec.evaluation.train_fraction) if since is None else since
    if not (group >= first).any():
        raise DataError(
            f"no {spec.evaluation.group} from {first} on: the last is {group.max()}",
            hint="choose an earlier --from-cycle",
        )
    return first


def score_later_groups(
    spec: ModelSpec, files: Path, prepared: Prepared, first: int, features: Features, scorer: Scorer
) -> tuple[Scored, pd.DataFrame, FeatureSpec]:
    """Score a version on the groups from `first` on.

    Returns:
        The scores, the joined rows of all groups in time order, and the features of the version.
    """
    own = version_features(spec, files)
    joined = join(spec, prepared.examples, features, prepared.views, own)
    later = as_examples(spec, joined[joined[spec.evaluation.group] >= first], own.names)
    task = version_task(files) if spec.task.needs_calibration else spec.task
    answers = scorer.score(files, later.features)
    return task.scored(later.target, answers, later.group, later.features), joined, own


def _default(model: str, registry: Registry) -> VersionRecord:
    for alias in DEFAULT_VERSIONS:
        record = registry.find(model, alias)
        if record is not None:
            return record
    raise UnknownVersion(f"{model} has neither champion nor candidate", hint=f"perennial models show {model}")
