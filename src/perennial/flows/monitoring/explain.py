"""Explain a verdict on drift: faults of the source, since when columns moved, what this traffic could have shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.input_spec import VOCABULARY
from perennial.core.monitoring.drift import ColumnDrift
from perennial.core.monitoring.levels import Level, MonitorVerdict
from perennial.core.monitoring.upstream import ERRS, faults, newly_missing, repeated, silent
from perennial.core.monitoring.views.vocabulary import unseen
from perennial.core.spec import ModelSpec

if TYPE_CHECKING:
    import pandas as pd


def explained(
    spec: ModelSpec,
    reference: pd.DataFrame,
    window: pd.DataFrame,
    judged: MonitorVerdict,
    now: datetime,
    warn_level: float | None = None,
) -> MonitorVerdict:
    """Return the verdict with what explains it; a fault of the source is at least a warning, of the traffic a watch.

    A fault that is proven, but not certain enough for the budget of false warnings, is a watch.

    Args:
        warn_level: as of `measure`.
        reference, window: rows in time order, features under their own names; the window has `at` and `request`.
    """
    policy = spec.monitoring
    columns = {
        name: _values(name, reference, window)
        for name in policy.columns
        if name in reference and name in window
    }
    names = [name for name in spec.features.names if name in reference and name in window]
    counted = spec.features.bucket_columns
    inputs = {name: _values(name, reference, window) for name in names if name not in counted}
    asked = window["request"].to_numpy()
    group, more = reference[spec.evaluation.group].to_numpy(), policy.upstream.newly_missing
    strict = warn_level if warn_level is not None and warn_level < ERRS else None

    def found(certain: bool) -> tuple[str, ...]:
        drifts = [drift for drift in judged.drifts if drift.is_certain or not certain]
        return (
            *newly_missing(inputs, group, asked, more, strict if certain else None),
            *faults(columns, drifts, policy.bins, policy.psi.watch),
        )

    broken = found(certain=False)
    warns = bool(broken) and bool(found(certain=True))
    rows = reference[names].to_numpy(dtype=float), window[names].to_numpy(dtype=float)
    times = [moment.to_pydatetime() for moment in window["at"]]
    copies = repeated(*rows, more=policy.upstream.repeated)
    pause = silent(times, now, policy.every, policy.upstream.silence)
    odd = tuple(text for text in (copies, pause) if text)
    least = Level.WARN if warns else Level.WATCH if broken or odd else Level.UNSURE
    first = len(judged.causes)
    return judged.model_copy(
        update={
            "level": max(judged.level, least, key=lambda level: level.rank),
            "faults": broken,
            "reasons": (
                *judged.reasons[:first],
                *(f"{text}: mend what sends it, a retraining would learn the fault" for text in broken),
                *odd,
                *judged.reasons[first:],
                *_since(judged.drifts, times, policy.psi.watch),
                *_unseen(spec, reference, window, judged.drifts),
            ),
        }
    )


def _values(name: str, reference: pd.DataFrame, window: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    return reference[name].to_numpy(dtype=float), window[name].to_numpy(dtype=float)


def _unseen(
    spec: ModelSpec, reference: pd.DataFrame, window: pd.DataFrame, drifts: Sequence[ColumnDrift]
) -> Iterator[str]:
    """Return how much of each vocabulary that moved the reference never had."""
    for drift in drifts:
        columns = list(spec.features.viewed(drift.column)) if drift.column.endswith(VOCABULARY) else []
        if columns and drift.excess >= spec.monitoring.psi.watch:
            share = unseen(reference[columns].to_numpy(), window[columns].to_numpy())
            yield f"{drift.column}: the reference never had {share:.1%} of its n-grams, hashed"


def _since(drifts: Sequence[ColumnDrift], at: Sequence[datetime], watch: float) -> Iterator[str]:
    """Return when the columns that moved began to, or the smallest shift that would have been shown."""
    moved = [drift for drift in drifts if drift.of_feature and drift.excess >= watch]
    for drift in moved:
        since = "before this window" if drift.since is None else f"about {at[drift.since]:%Y-%m-%d %H:%M} UTC"
        yield f"{drift.column} moved since {since}"
    features = [drift for drift in drifts if drift.of_feature]
    if moved or not features:
        return
    shown = [drift.least for drift in features if drift.least is not None]
    if len(shown) < len(features):
        blind = [drift.column for drift in features if drift.least is None]
        yield f"too few independent blocks of rows to show any shift of {', '.join(blind[:3])}"
    else:
        yield f"this traffic shows a shift of {max(shown):.2f} sd of any feature, with a power of 80 %"
