"""Compare two registered versions on a history file, row by row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.evaluation.comparison import VersionComparison, compare
from perennial.core.spec import ModelSpec
from perennial.errors import UsageError
from perennial.flows.evaluation.score import first_scored_group, score_later_groups
from perennial.flows.training.prepare import Prepared
from perennial.flows.versions import find_version
from perennial.ports import Features, Registry, Scorer

if TYPE_CHECKING:
    import pandas as pd


def compare_versions(
    spec: ModelSpec,
    versions: tuple[str, str],
    history: pd.DataFrame,
    since: int | None,
    make: Callable[[pd.DataFrame], Prepared],
    features: Features,
    registry: Registry,
    scorer: Scorer,
    folder: Path,
    examples: int,
) -> VersionComparison:
    """Score both versions on the groups from `since` on; earlier groups only build features.

    Args:
        versions: semantic version, alias or `key:N`, the old version first.
        since: first scored group; None for the first group after the `train_fraction` of the spec.
        folder: empty; the versions are fetched into it.
        examples: number of disagreements to keep.

    Raises:
        UnknownVersion: a version is not in the registry.
        UsageError: both are the same file.
        DataError: there is no group to score, or all rows have the same verdict.
    """
    old, new = (find_version(spec.name, which, registry) for which in versions)
    if old.ref.digest == new.ref.digest:
        raise UsageError(
            f"{versions[0]} and {versions[1]} are the same file: {old.ref}", hint="name two versions"
        )
    prepared = make(history)
    first = first_scored_group(spec, prepared, since)
    (before, joined, _), (after, _, _) = (
        score_later_groups(
            spec, registry.fetch(record.ref, folder / record.ref.digest), prepared, first, features, scorer
        )
        for record in (old, new)
    )
    names = list(dict.fromkeys([*spec.features.entities, spec.evaluation.group]))
    rows = joined.loc[joined[spec.evaluation.group] >= first, names].to_dict("records")
    return compare(
        (str(old.ref), str(new.ref)),
        (before, after),
        rows,
        examples,
        spec.evaluation.bootstrap,
        spec.tuning.seed,
    )
