"""Window features that may help a model: lengths that fit the events, and functions that say different things."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

import numpy as np

from perennial.core.feature_view import Aggregate, ColumnType, ViewSpec, WindowSpec
from perennial.errors import DataError, UsageError

LENGTHS = tuple(timedelta(hours=hours) for hours in (1, 6, 24, 7 * 24, 30 * 24, 90 * 24, 365 * 24))
MOST_LENGTHS = 3
MOST_COLUMNS = 20
NUMBERS = (ColumnType.FLOAT, ColumnType.INT, ColumnType.BOOL)


def fitting_lengths(entity: np.ndarray, seconds: np.ndarray) -> tuple[timedelta, ...]:
    """Return up to three lengths between the median distance of an entity's events and half of the time of all.

    Args:
        entity: number of the entity of each event, int [n].
        seconds: unix seconds of each event, float [n].

    Raises:
        DataError: no length fits, for example since entities have a single event.
    """
    order = np.lexsort((seconds, entity))
    same = np.diff(entity[order]) == 0
    gaps = np.diff(seconds[order])[same]
    gap = float(np.median(gaps)) if len(gaps) else np.inf
    span = float(np.ptp(seconds)) if len(seconds) else 0.0
    fitting = [length for length in LENGTHS if gap <= length.total_seconds() <= span / 2]
    if not fitting:
        raise DataError(
            f"no window of {', '.join(shown(length) for length in LENGTHS)} fits: events of an entity lie "
            f"{shown(timedelta(seconds=gap)) if len(gaps) else 'infinitely long'} apart, and all events are "
            f"within {shown(timedelta(seconds=span))}",
            hint="name another entity, or the lengths by --over",
        )
    places = np.unique(np.linspace(0, len(fitting) - 1, min(MOST_LENGTHS, len(fitting))).round().astype(int))
    return tuple(fitting[place] for place in places)


def with_candidates(events: ViewSpec, lengths: Sequence[timedelta]) -> ViewSpec:
    """Return the view of the candidates over the events of a view.

    A rate is a count times a constant, and a longer window holds what a shorter one knows last: neither is tried twice.

    Args:
        events: its columns that are no numbers and no bools are left out.

    Raises:
        UsageError: there are more than 20 columns.
    """
    columns = [name for name, kind in events.columns.items() if kind in NUMBERS]
    if len(columns) > MOST_COLUMNS:
        raise UsageError(
            f"{len(columns)} columns are too many to try: {', '.join(columns)[:300]}",
            hint=f"name at most {MOST_COLUMNS} by --column",
        )
    longest = (max(lengths),)
    windows = [
        WindowSpec(column=None, functions=(Aggregate.COUNT,), over=tuple(lengths)),
        WindowSpec(column=None, functions=(Aggregate.TIME_SINCE,), over=longest),
    ]
    for column in columns:
        windows.append(WindowSpec(column=column, functions=(Aggregate.MEAN,), over=tuple(lengths)))
        windows.append(WindowSpec(column=column, functions=(Aggregate.LAST,), over=longest))
    return _view(events, columns, windows)


def with_windows(view: ViewSpec, names: Collection[str]) -> ViewSpec:
    """Return a view with these of its window features only, and the columns that they need."""
    lengths: dict[tuple[str | None, Aggregate], list[timedelta]] = {}
    for feature in view.window_features:
        if feature.name in names:
            lengths.setdefault((feature.column, feature.function), []).append(feature.over)
    windows = [
        WindowSpec(column=column, functions=(function,), over=tuple(over))
        for (column, function), over in lengths.items()
    ]
    needed = [name for name in view.columns if any(window.column == name for window in windows)]
    return _view(view, needed, windows)


def shown(length: timedelta) -> str:
    """Return a length of time for people, such as 7 d or 6.5 h."""
    hours = length.total_seconds() / 3600
    return f"{hours / 24:.3g} d" if hours >= 24 else f"{hours:.3g} h"


def _view(view: ViewSpec, columns: Collection[str], windows: Sequence[WindowSpec]) -> ViewSpec:
    content = view.model_dump() | {
        "columns": {name: view.columns[name] for name in columns},
        "windows": [window.model_dump() for window in windows],
        "ttl": None,
    }
    return ViewSpec.model_validate(content)
