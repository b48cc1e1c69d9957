"""Recover from its capsule what a version was made from: the rows of its training, and the model fitted to them."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

from perennial.core.feature_spec import FeatureSpec
from perennial.core.spec import ModelSpec
from perennial.core.training.capsule import Capsule
from perennial.core.training.examples import Examples
from perennial.core.training.registration import VersionRecord
from perennial.errors import ChecksumMismatch, DatasetMissing, MalformedInput, ModelFileError
from perennial.files import md5
from perennial.flows.training.fit import Build, fit_once
from perennial.flows.training.package import kept_capsule
from perennial.flows.training.point_in_time import join
from perennial.flows.training.workdir import read_table
from perennial.ports import DataStore, Features, Together, Tracker

if TYPE_CHECKING:
    import pandas as pd

CHOSEN_BY_TRAINING = ("epochs", "seed", "workers")
"""Parameters of the capsule that are not parameters of the model class."""


def checked_capsule(record: VersionRecord, tracker: Tracker) -> Capsule:
    """Return the capsule that the run of a version keeps.

    Raises:
        ModelFileError: it cannot be read, or is not the one that the version names.
    """
    try:
        capsule = kept_capsule(record, tracker)
    except (DatasetMissing, MalformedInput) as error:
        raise ModelFileError(
            f"the capsule of {record.ref} cannot be read from its run {record.run_id}: {error}",
            hint="restore the artifact store, or train again",
        ) from error
    if capsule.hash != record.ref.capsule:
        raise ModelFileError(
            f"the capsule kept with the run of {record.ref} has the hash {capsule.hash[:12]}, "
            f"the version names {record.ref.capsule[:12]}",
            hint="restore the artifact store from its backup: somebody changed it",
        )
    return capsule


def rows_of_training(
    spec: ModelSpec,
    record: VersionRecord,
    capsule: Capsule,
    columns: FeatureSpec,
    data: DataStore,
    features: Features,
    into: Path,
) -> pd.DataFrame:
    """Check out the data of a version and join it as its training did; `columns` are the features of the version.

    Raises:
        DatasetMissing, ChecksumMismatch: the data is missing or has changed.
    """
    data.checkout(record.tags["data.revision"], into)
    for name, expected in capsule.data.items():
        actual = md5(into / name) if (into / name).is_file() else "-"
        if actual != expected:
            raise ChecksumMismatch(
                f"{name} of the revision {record.tags['data.revision'][:12]} has md5 {actual}, "
                f"the capsule names {expected}",
                hint="the version was trained from another data repository",
            )
    folder = into / spec.name
    views = {path.stem: read_table(path, "prepare") for path in sorted((folder / "views").glob("*.parquet"))}
    return join(spec, read_table(folder / "examples.parquet", "prepare"), features, views, columns)


def fit_again(
    spec: ModelSpec,
    build: Build,
    together: Together,
    names: tuple[str, ...],
    capsule: Capsule,
    learnt: Examples,
) -> Any:
    """Return the model class with parameters and seed of the capsule, fitted for its epochs, without a search."""
    chosen = capsule.parameters
    parameters = {name: value for name, value in chosen.items() if name not in CHOSEN_BY_TRAINING}
    seed, epochs = int(chosen["seed"]), int(chosen["epochs"])
    fitting = functools.partial(fit_once, build, names, parameters, seed, spec.task, learnt, epochs)
    return together(int(chosen.get("workers", 1)), fitting)
