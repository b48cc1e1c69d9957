"""Score any registered version on any file of the history schema, so that anyone can check it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.evaluation.evaluation import MODEL, Evaluation, evaluate_scores
from perennial.core.spec import ModelSpec
from perennial.core.training.examples import Examples
from perennial.core.training.split import first_later_group
from perennial.errors import DataError, UnknownVersion
from perennial.flows.evaluation.evaluate import as_scored, baseline_scores
from perennial.flows.training.package import version_features
from perennial.flows.training.point_in_time import as_examples, join
from perennial.flows.training.prepare import Prepared
from perennial.ports import Features, Registry, Scorer

if TYPE_CHECKING:
    import pandas as pd

NEWEST = ("champion", "candidate")
"""What is scored when no version is named: the first of these that there is."""


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
    """Groups before `since` only build features; the later ones are scored.

    Args:
        version: semantic version, alias or `key:N`; None for the champion, else the candidate.
        since: the first group to score; None for the one that the spec's train_fraction gives.
        folder: empty; the version is fetched into it.

    Returns:
        The figures beside the baselines of the spec, and the version's name for people.

    Raises:
        UnknownVersion: the registry has none of that name.
        DataError: no group to score, or they hold one verdict only.
    """
    record = _find(spec.name, version, registry)
    files = registry.fetch(record.ref, folder)
    prepared = make(history)
    group = prepared.examples[spec.evaluation.group].to_numpy()
    first = first_later_group(group, spec.evaluation.train_fraction) if since is None else since
    if not (group >= first).any():
        raise DataError(
            f"no {spec.evaluation.group} from {first} on: the last one is {group.max()}",
            hint="choose an earlier --from-cycle",
        )
    own = version_features(spec, files)
    theirs = join(spec, prepared.examples, features, prepared.views, own)
    judged = as_examples(spec, theirs, own.names)
    scored = scorer.score(files, judged.features[judged.group >= first])
    known, later = _today(spec, prepared, features, theirs, own.columns, first)
    scores = as_scored(later, {MODEL: scored, **baseline_scores(spec, known, later)})
    evaluation = evaluate_scores(
        record.ref.digest,
        scores,
        {},
        spec.gate.improvement.metric,
        spec.evaluation.slice_min_rows,
        spec.evaluation.bootstrap,
        spec.tuning.seed,
    )
    return evaluation, str(record.ref)


def _find(model: str, version: str | None, registry: Registry):
    for which in (version,) if version else NEWEST:
        found = registry.find(model, which)
        if found is not None:
            return found
    raise UnknownVersion(
        f"{model} has no version {version}" if version else f"{model} has neither champion nor candidate",
        hint=f"perennial models show {model}",
    )


def _today(spec: ModelSpec, prepared: Prepared, features: Features, theirs, columns, first: int):
    """Examples before and from `first` with the features that the spec names today: the baselines' own."""
    rows = theirs
    if columns != spec.features.columns:
        rows = join(spec, prepared.examples, features, prepared.views)
    examples: Examples = as_examples(spec, rows)
    return examples.where(examples.group < first), examples.where(examples.group >= first)
