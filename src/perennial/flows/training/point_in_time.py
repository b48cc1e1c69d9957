"""Join examples with the features known at their time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.feature_spec import FeatureSpec
from perennial.core.spec import ModelSpec
from perennial.core.training.examples import Examples
from perennial.errors import MalformedInput
from perennial.flows.training.tables import encoded
from perennial.ports import Features

if TYPE_CHECKING:
    import pandas as pd


def join(
    spec: ModelSpec,
    examples: pd.DataFrame,
    features: Features,
    views: Mapping[str, pd.DataFrame],
    columns: FeatureSpec | None = None,
) -> pd.DataFrame:
    """Return the examples in time order with a float32 column per feature, as known at event_timestamp.

    Inputs that the caller sends are columns of the examples: they are encoded as a server encodes them.

    Args:
        columns: the features of a version that was trained with others than the spec names.
    """
    wanted = columns or spec.features
    ordered = examples.sort_values(spec.evaluation.group, kind="stable").reset_index(drop=True)
    if wanted.source == "request":
        return ordered.drop(columns=list(wanted.inputs)).join(encoded(wanted, ordered))
    keys = [*dict.fromkeys([*wanted.entities, *wanted.request]), "event_timestamp"]
    missing = [name for name in [*keys, spec.target.column] if name not in ordered]
    if missing:
        raise MalformedInput(
            f"the examples of {spec.name} lack {', '.join(missing)}",
            hint="data.source.prepare of the spec must give entities, request values, target and event_timestamp",
        )
    values = as_of(wanted, ordered, features, views).astype("float32")
    return ordered.drop(columns=[name for name in wanted.names if name in ordered]).join(values)


def as_of(
    wanted: FeatureSpec, rows: pd.DataFrame, features: Features, views: Mapping[str, pd.DataFrame]
) -> pd.DataFrame:
    """Return a number column per feature: those of the store as known at event_timestamp, those that were sent.

    Args:
        rows: entity keys, request values, event_timestamp and what the caller sends; index 0 .. n-1.
    """
    keys = [*dict.fromkeys([*wanted.entities, *wanted.request]), "event_timestamp"]
    joined = features.join(wanted, rows[keys], views).reset_index(drop=True)
    if not wanted.inputs:
        return joined[list(wanted.names)]
    typed = encoded(wanted, joined.assign(**{name: rows[name] for name in wanted.sent}))
    plain = joined[[name for name in wanted.stored if name not in wanted.inputs]]
    return plain.join(typed)[list(wanted.names)]


def as_examples(spec: ModelSpec, rows: pd.DataFrame, names: tuple[str, ...] | None = None) -> Examples:
    """Convert joined rows to arrays.

    Raises:
        WrongTarget: a target is not valid for the kind of task.
    """
    columns = list(names or spec.features.names)
    return Examples(
        features=np.ascontiguousarray(rows[columns].to_numpy(dtype=np.float32)),
        target=spec.task.targets(rows[spec.target.column].to_numpy(), spec.target.column),
        group=rows[spec.evaluation.group].to_numpy(dtype=np.int64),
    )
