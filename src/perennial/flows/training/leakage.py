"""Look in the rows of a table for what a model could not know when it is asked."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np

from perennial.core.data_spec import RowsSpec
from perennial.core.input_encoding import encode
from perennial.core.input_spec import InputKind, InputSpec, columns_of
from perennial.core.spec import ModelSpec
from perennial.core.training.examples import first_later_group
from perennial.core.training.leakage import by_input, copies_across, future_times, telling_columns
from perennial.core.training.target_shares import common_shares, tied_to_shares
from perennial.errors import ValidationFailed
from perennial.flows.training.tables import elements, encoded, plain_values
from perennial.limits import CLOCK_SKEW

if TYPE_CHECKING:
    import pandas as pd


def check_leakage(spec: ModelSpec, source: RowsSpec, examples: pd.DataFrame, now: datetime) -> dict[str, str]:
    """Refuse inputs that predict the target alone or are known to hold it, times from the future, and copies.

    Args:
        now: aware; no row is later.

    Returns:
        Inputs that look like shares of counts, or are tied to one, which a person must look at: name -> an example.

    Raises:
        ValidationFailed: names each such input, or the first such row.
        WrongTarget: a target is not valid for the kind of task.
        DataError: the rows cannot be split.
    """
    target = spec.task.targets(examples[spec.target.column].to_numpy(), spec.target.column)
    if (
        spec.task.windows is not None
    ):  # its inputs are past values: a series that moves slowly tells its next value
        return {}
    sent = {name: spec.features.inputs[name] for name in spec.features.sent}
    own = spec.features.model_copy(update={"inputs": sent})
    features = encoded(own, examples).to_numpy(dtype=np.float32)
    # A bucket counts n-grams of several words: only its text as a whole means something.
    single = [name not in own.bucket_columns for name in columns_of(sent)]
    names = tuple(itertools.compress(columns_of(sent), single))
    telling = telling_columns(features[:, single], names, target, spec.task.is_number, source.seed)
    reasons = by_input(telling, sent)
    reasons |= {name: why for name, why in source.leaking.items() if name in spec.features.inputs}
    if source.in_time and source.period is not None:
        reasons |= _times(spec, source.time or "", examples, now)
    refused = {name: why for name, why in reasons.items() if name not in source.leakage_accepted}
    if refused:
        listed = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise ValidationFailed(
            f"{spec.name}: inputs tell the target {spec.target.column}: {listed}",
            hint="remove it from features.inputs if it is only known afterwards; else name it in "
            "data.source.leakage_accepted",
        )
    _copies(spec, source, features, target, examples[spec.evaluation.group].to_numpy())
    broken = [name for name, given in sent.items() if given.type is InputKind.FLOAT]
    numbers = {name: examples[name].to_numpy(dtype=float, na_value=np.nan) for name in broken}
    for name, given in sent.items():
        if given.size is not None:
            numbers |= elements(examples[name], given.columns(name))
    shares = common_shares(numbers)
    looked_at = shares | {
        name: f"one value for each of {share}" for name, share in tied_to_shares(numbers, shares).items()
    }
    named = by_input(looked_at, sent)
    return {name: example for name, example in named.items() if name not in source.leakage_accepted}


def _times(spec: ModelSpec, time: str, examples: pd.DataFrame, now: datetime) -> dict[str, str]:
    latest = int(examples[time].to_numpy().argmax())
    if (last := examples[time].iloc[latest].to_pydatetime(warn=False)) > now + CLOCK_SKEW:
        raise ValidationFailed(
            f"{spec.name}: row {latest} has {time} {last.isoformat()}, which is in the future",
            hint="mend the data, or the zone of its times: a time without a zone is UTC",
        )
    named = [name for name in spec.features.sent if spec.features.inputs[name].type is InputKind.TIMESTAMP]
    return future_times(
        {name: _days(examples, name) for name in named if name != time}, _days(examples, time)
    )


def _days(examples: pd.DataFrame, name: str) -> np.ndarray:
    given = InputSpec(type=InputKind.TIMESTAMP, missing="allow")
    return encode({name: given}, {name: plain_values(examples[name])}, len(examples))[:, 0]


def _copies(
    spec: ModelSpec, source: RowsSpec, features: np.ndarray, target: np.ndarray, group: np.ndarray
) -> None:
    evaluation = spec.evaluation
    for fraction in sorted({evaluation.train_fraction, evaluation.retrain_train_fraction}):
        later = group >= first_later_group(group, fraction)
        pairs = copies_across(features, target, later)
        share = len(pairs) / int(later.sum())
        if share > source.copies:
            row, copy = pairs[0]
            raise ValidationFailed(
                f"{spec.name}: {share:.1%} of the rows held back ({len(pairs)}) are copies of a row that trains, "
                f"such as row {row} of the examples and row {copy}",
                hint="remove the copies, or keep them together by split: group; if they are no copies but other cases "
                f"with the same values, raise data.source.copies (now {source.copies})",
            )
