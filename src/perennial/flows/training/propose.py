"""Propose window features for a model over a table: chosen and proven on rows before its holdout."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.data_spec import RowsSpec
from perennial.core.evaluation.feature_choice import Choice, Chooser
from perennial.core.feature_spec import FeatureSpec
from perennial.core.feature_view import ViewSpec
from perennial.core.spec import ModelSpec
from perennial.core.training.window_candidates import fitting_lengths, with_candidates, with_windows
from perennial.errors import DataError, MalformedInput, UsageError
from perennial.flows.training.point_in_time import as_examples, join
from perennial.flows.training.tables import table_examples
from perennial.flows.training.training_data import split_rows
from perennial.ports import Features, Reference, Windows

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ProposePorts:
    rows: Callable[[ModelSpec], pd.DataFrame]
    """Reads the rows of a model."""
    views: Callable[[ModelSpec], Mapping[str, pd.DataFrame]]
    """Reads the tables of the views that a model uses."""
    events: Callable[[ViewSpec], pd.DataFrame]
    features: Features
    windows: Windows
    learner: Reference


@dataclass(frozen=True)
class Proposal:
    """The choice, and what it comes to; view and features are None where nothing is kept."""

    choice: Choice
    view: ViewSpec | None
    features: FeatureSpec | None


def propose(
    spec: ModelSpec,
    events: ViewSpec,
    lengths: Sequence[timedelta],
    ports: ProposePorts,
    say: Callable[[str], None],
) -> Proposal:
    """Propose windows over the past events of an entity.

    Neither the holdout nor rows kept for calibration are looked at, and no event at or after the time of a row.

    Args:
        events: entity, times, source and columns of the events, under the name of the new view.
        lengths: of the windows; none: those that fit the spacing of the events.

    Raises:
        UsageError: the model or the view is of another kind.
        DataError: too few groups, or no length fits.
        Others: as reading, joining and splitting do.
    """
    source = _source(spec)
    present = _joined(spec, source, ports)
    # Reading needs no names of columns, and there are none yet.
    to_read = keyed_features(spec, events.entity, [f"{events.name}:any"])
    keyed = spec.model_copy(update={"features": to_read})
    entities = table_examples(keyed, source, ports.rows(keyed)).examples
    if not entities[spec.target.column].equals(present[spec.target.column]):
        raise DataError(f"the rows of {spec.name} changed while they were read", hint="run it again")
    examples = as_examples(spec, present)
    fraction = min(spec.evaluation.train_fraction, spec.evaluation.retrain_train_fraction)
    split = split_rows(spec, examples, retrain=fraction == spec.evaluation.retrain_train_fraction)
    before = np.isin(examples.group, split.training.group)

    happened = ports.events(events)
    view = with_candidates(events, lengths or _lengths(events, happened, entities, before))
    names = [feature.name for feature in view.window_features]
    if taken := sorted({*names} & {*spec.features.names, *entities.columns}):
        raise UsageError(
            f"{spec.name} has {', '.join(taken)} already",
            hint="name other lengths by --over, or other columns",
        )
    say(f"{len(names)} candidates over {len(happened)} events of {events.entity}")
    rows = entities.loc[before, [events.entity, "event_timestamp"]].reset_index(drop=True)
    values = ports.windows(view, names, happened, rows, "event_timestamp")
    kept = examples.where(before)
    stays = [name != events.entity for name in spec.features.names]
    chooser = Chooser(
        task=spec.task,
        metric=spec.gate.improvement.metric,
        present=kept,
        base=kept.features[:, stays],
        candidates=np.column_stack([values[name] for name in names]).astype(np.float32),
        learner=ports.learner,
        resamples=spec.evaluation.bootstrap,
        seed=spec.tuning.seed,
    )
    choice = chooser.choose(names, say)
    if not choice.kept:
        return Proposal(choice, None, None)
    columns = [f"{view.name}:{name}" for name in names if name in choice.kept]
    return Proposal(choice, with_windows(view, choice.kept), keyed_features(spec, events.entity, columns))


def keyed_features(spec: ModelSpec, entity: str, columns: Sequence[str]) -> FeatureSpec:
    """Return the features of a model with a key, and with further columns of the feature store.

    A sent input of the name of the key is left out: the key itself is no number.
    """
    given = spec.features
    inputs = {name: typed for name, typed in given.inputs.items() if name != entity}
    return FeatureSpec(
        source="store",
        service=given.service or spec.name,
        entities=tuple(dict.fromkeys([*given.entities, entity])),
        columns=(*given.columns, *columns),
        request=given.request,
        inputs=inputs,
    )


def _source(spec: ModelSpec) -> RowsSpec:
    source = spec.data.source
    if not isinstance(source, RowsSpec) or spec.task.windows is not None:
        what = f"a {spec.task.kind}" if isinstance(source, RowsSpec) else "a model over a CI history"
        raise UsageError(
            f"{spec.name} is {what}, whose features are made elsewhere", hint="propose is for rows of a table"
        )
    if not source.in_time or source.period is None:
        raise UsageError(
            f"{spec.name}: windows need the time of each row",
            hint="data.source needs time, period, and split: time or rolling",
        )
    if texts := [name for name, given in spec.features.inputs.items() if given.buckets is not None]:
        raise UsageError(
            f"{spec.name} has the text {', '.join(texts)}, which cannot stand beside a feature store yet",
            hint="compute windows where the table is made",
        )
    return source


def _joined(spec: ModelSpec, source: RowsSpec, ports: ProposePorts) -> pd.DataFrame:
    """Return the rows with the features as they are, in time order."""
    is_sent = spec.features.source == "request"
    prepared = table_examples(spec, source, ports.rows(spec), lambda: {} if is_sent else ports.views(spec))
    return join(spec, prepared.examples, ports.features, prepared.views)


def _lengths(
    events: ViewSpec, happened: pd.DataFrame, entities: pd.DataFrame, before: np.ndarray
) -> tuple[timedelta, ...]:
    """Return lengths that fit the events up to the last row before the holdout."""
    import pandas as pd

    known = happened[happened[events.times.event] <= entities.loc[before, "event_timestamp"].max()]
    if known[events.entity].isna().any():
        raise MalformedInput(
            f"an event has no {events.entity}", hint="every event needs an entity: mend the data"
        )
    seconds = (known[events.times.event] - pd.Timestamp(0, tz="UTC")).dt.total_seconds()
    return fitting_lengths(pd.factorize(known[events.entity])[0], seconds.to_numpy(dtype=float))
