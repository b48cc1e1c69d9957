"""Two registered versions on one history file, row by row."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from perennial.core.evaluation.comparison import VersionComparison, compare
from perennial.core.evaluation.metrics import Scored
from perennial.core.spec import ModelSpec
from perennial.core.training.registration import VersionRecord
from perennial.core.training.split import first_later_group
from perennial.errors import DataError, UsageError
from perennial.flows.training.package import version_features
from perennial.flows.training.point_in_time import as_examples, join
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
    """Groups before `since` only build features; the later ones are scored by both versions.

    Args:
        versions: semantic version, alias or `key:N`, the old one first.
        since: the first group to score; None for the one that the spec's train_fraction gives.
        folder: empty; the versions are fetched into it.
        examples: how many disagreements to keep.

    Raises:
        UnknownVersion: the registry lacks one of them. UsageError: they are the same file.
        DataError: no group to score, or they hold one verdict only.
    """
    old, new = (find_version(spec.name, which, registry) for which in versions)
    if old.ref.digest == new.ref.digest:
        raise UsageError(
            f"{versions[0]} and {versions[1]} are the same file: {old.ref}", hint="name two versions"
        )
    prepared = make(history)
    group = prepared.examples[spec.evaluation.group].to_numpy()
    first = first_later_group(group, spec.evaluation.train_fraction) if since is None else since
    if not (group >= first).any():
        raise DataError(
            f"no {spec.evaluation.group} from {first} on: the last one is {group.max()}",
            hint="choose an earlier --from-cycle",
        )

    def scored(record: VersionRecord) -> tuple[Scored, pd.DataFrame]:
        files = registry.fetch(record.ref, folder / record.ref.digest)
        own = version_features(spec, files)
        joined = join(spec, prepared.examples, features, prepared.views, own)
        later = joined[joined[spec.evaluation.group] >= first]
        judged = as_examples(spec, later, own.names)
        return Scored(judged.target, scorer.score(files, judged.features), judged.group), later

    before, rows = scored(old)
    after, _ = scored(new)
    names = list(dict.fromkeys([*spec.features.entities, spec.evaluation.group]))
    return compare(
        (str(old.ref), str(new.ref)),
        (before, after),
        [{str(key): _plain(value) for key, value in row.items()} for row in rows[names].to_dict("records")],
        spec.target.threshold,
        examples,
        spec.evaluation.bootstrap,
        spec.tuning.seed,
    )


def _plain(value: object) -> object:
    """A NumPy number as JSON has it."""
    return value.item() if hasattr(value, "item") else value
