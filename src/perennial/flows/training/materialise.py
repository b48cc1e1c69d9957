"""Publish the features of a history to the feature store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from perennial.core.spec import ModelSpec
from perennial.core.training.data import Validation
from perennial.errors import DatasetMissing, MalformedInput, ValidationFailed
from perennial.flows.training.prepare import Prepared
from perennial.flows.training.revision import read_revision
from perennial.flows.training.workdir import Workdir, read_record
from perennial.ports import Features

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Publication:
    """Result of a publication."""

    rows: Mapping[str, int]
    """Feature view -> state rows."""
    last: int
    """The last group (cycle) in the features."""


def publish(
    spec: ModelSpec,
    load: Callable[[], pd.DataFrame],
    make: Callable[[pd.DataFrame], Prepared],
    features: Features,
) -> Publication:
    """Publish the whole history as offline source, and its newest rows as online values.

    The publication overwrites the values of cycles that have been pushed meanwhile; they are pushed again at
    the end.

    Args:
        load: reads the history of the spec.
        make: the function named by `data.prepare` of the spec.
    """
    history = load()
    prepared = make(history)
    features.publish(prepared.views)
    last = _last(spec, history)
    later = load()
    if _last(spec, later) > last:
        last = push(spec, later, make, features, since=last + 1).last
    return Publication({name: len(view) for name, view in prepared.views.items()}, last)


def publish_table(
    rows: pd.DataFrame, make: Callable[[pd.DataFrame], Prepared], features: Features
) -> dict[str, int]:
    """Publish the feature views of a model over rows, with window features as of now; return their rows."""
    views = make(rows).views
    features.publish(views)
    return {name: len(view) for name, view in views.items()}


def publish_checked(spec: ModelSpec, work: Workdir, features: Features) -> list[str]:
    """Publish the feature tables of a work folder that `validate --no-publish` has checked; return their names.

    Raises:
        DatasetMissing: `prepare` or `validate` has not run. ValidationFailed: it checked other tables.
    """
    revision = read_revision(spec, work).revision
    checked = read_record(work.validation, Validation, "validate").revision
    if checked != revision:
        raise ValidationFailed(
            f"{spec.name}: revision {revision[:12]} was not checked, but {checked[:12]}",
            hint=f"perennial validate {spec.name}",
        )
    views = work.read_views()
    if views:
        features.publish(views)
    return list(views)


def push(
    spec: ModelSpec,
    history: pd.DataFrame,
    make: Callable[[pd.DataFrame], Prepared],
    features: Features,
    since: int | None = None,
) -> Publication:
    """Write the changes of the newest cycles online.

    Args:
        since: first group (cycle) to push; None for the last group only.

    Raises:
        DatasetMissing: the history has no such cycle.
    """
    group = spec.evaluation.group
    prepared = make(history)
    first = _last(spec, history) if since is None else since
    new = prepared.examples[prepared.examples[group] >= first]
    if new.empty:
        raise DatasetMissing(
            f"{spec.data.source.name!r} has no {group} from {first} on",
            hint=f"its last {group} is {_last(spec, history)}",
        )
    # No result of a cycle is known before its start, so this includes all its rows. Rows of an earlier cycle
    # that ended later may be included too; they are correct.
    start = new["event_timestamp"].min()
    views = {name: view[view["event_timestamp"] >= start] for name, view in prepared.views.items()}
    features.push(views)
    return Publication({name: len(view) for name, view in views.items()}, _last(spec, history))


def _last(spec: ModelSpec, history: pd.DataFrame) -> int:
    if spec.evaluation.group not in history:
        raise MalformedInput(
            f"{spec.data.source.name!r} has no column {spec.evaluation.group!r}",
            hint="evaluation.group of the spec names a column of the history",
        )
    return int(history[spec.evaluation.group].max())
