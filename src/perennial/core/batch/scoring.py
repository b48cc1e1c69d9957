"""Answers of a version for the rows of a part, and the rows that are refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from perennial.core.input_encoding import Column, Fault, encode, faults, where
from perennial.core.input_spec import InputSpec, columns_of
from perennial.core.tasks.task import Task
from perennial.errors import MalformedInput, VersionFailed

SLICE = 4096
"""Rows that the model gets at once: more leave the caches of a processor."""
PLAUSIBLE = 1e15
"""Larger values of a row are its own fault where the answer is not finite: their squares leave float32."""


@dataclass(frozen=True)
class ScoredRows:
    """A part after scoring. `rows` and `Fault.row` are places in the part, from 0."""

    rows: np.ndarray
    """Integers [n], rising: the rows that have an answer."""
    columns: Mapping[str, np.ndarray]
    """Fields of the predictions, [n] each."""
    faults: tuple[Fault, ...]
    """One per rejected row, in the order of the rows."""


def score_rows(
    inputs: Mapping[str, InputSpec],
    task: Task,
    score: Callable[[np.ndarray], np.ndarray],
    columns: Mapping[str, Column],
    rows: int,
    given: Sequence[Fault] = (),
) -> ScoredRows:
    """Encode and score rows; those that the encoding of a request refuses are set apart.

    Args:
        score: float32 [n, features] -> answers, float32 [n] or [n, k].
        columns: name -> [rows].
        given: faults of rows that are set apart whatever their inputs are.

    Raises:
        MalformedInput: a column is missing.
        VersionFailed: an answer is not finite, and the values of its row are plausible.
    """
    refused = list(given)
    kept = np.delete(np.arange(rows), [fault.row for fault in refused])
    if refused:
        columns = {name: where(columns[name], kept) for name in inputs}
    try:
        features = encode(inputs, columns, len(kept))
    except MalformedInput:
        wrong = faults(inputs, columns, len(kept))
        sound = np.delete(np.arange(len(kept)), [fault.row for fault in wrong])
        features = encode(inputs, {name: where(columns[name], sound) for name in inputs}, len(sound))
        refused += [replace(fault, row=int(kept[fault.row])) for fault in wrong]
        kept = kept[sound]
    width = task.width()
    answers = [np.empty((0,) if width is None else (0, width), dtype=np.float32)]
    answers += [score(features[start : start + SLICE]) for start in range(0, len(kept), SLICE)]
    answer = np.concatenate(answers)
    finite = np.isfinite(answer if width is None else answer.sum(axis=1))
    if not finite.all():
        refused += _implausible(features[~finite], kept[~finite], columns_of(inputs))
        kept, answer = kept[finite], answer[finite]
    refused.sort(key=lambda fault: fault.row)
    return ScoredRows(kept, task.columns(answer), tuple(refused))


def _implausible(features: np.ndarray, rows: np.ndarray, names: tuple[str, ...]) -> list[Fault]:
    """Return the faults of rows without a finite answer.

    Raises:
        VersionFailed: the values of a row are plausible, so that the fault is the version's.
    """
    refused = []
    for row, values in zip(rows.tolist(), features, strict=True):
        large = np.flatnonzero(np.abs(values) > PLAUSIBLE)
        if not len(large):
            raise VersionFailed(
                "an answer is not finite, and the values of its row are within range",
                hint="look at the version",
            )
        place = int(large[0])
        reason = f"the answer is not finite: the value is larger than {PLAUSIBLE:g}"
        refused.append(Fault(row, names[place], repr(float(values[place])), reason))
    return refused
