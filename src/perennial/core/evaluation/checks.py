"""Checks of a candidate beyond its accuracy, each a rule of the gate. Pure functions of rows and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from perennial.core.tasks import Task
from perennial.core.verdict import Judgement, Verdict

EXTREMES = (0.0, -1.0, 1e6, -1e6, 1e30, -1e30, np.inf, -np.inf, np.nan)
"""Out-of-vocabulary codes (-1, 1e6), huge numbers, infinities and NaN."""
ALONE = 200
"""Most features that take an extreme value alone."""
SHOWN = 5


@dataclass(frozen=True)
class Case:
    """Behavioural test: two inputs, and a rule for their scores.

    Kinds from M. Ribeiro et al., "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList", ACL 2020.
    `invariance`: the scores must agree within `tolerance`. `direction` and `minimum` (basic functionality of
    every model): the second score must be above the first.
    """

    name: str
    kind: Literal["invariance", "direction", "minimum"]
    first: Mapping[str, float]
    """Feature -> value; missing features are NaN."""
    second: Mapping[str, float]
    tolerance: float = 0.0

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """Return both inputs, float32 [2, features], in the order of `names`."""
        return np.array(
            [[values.get(name, np.nan) for name in names] for values in (self.first, self.second)],
            dtype=np.float32,
        )

    def holds(self, first: float, second: float) -> bool:
        if self.kind == "invariance":
            return abs(second - first) <= self.tolerance
        return second > first


def failed(rule: str, why: str, needed: str) -> Judgement:
    return Judgement(rule=rule, verdict=Verdict.FAIL, observed=why, needed=needed)


def unmeasured(rule: str, why: str, needed: str) -> Judgement:
    return Judgement(rule=rule, verdict=Verdict.ERROR, observed=why, needed=needed)


def judge_behaviour(cases: Sequence[Case], scores: np.ndarray) -> Judgement:
    """Judge the behavioural tests: every case must hold.

    Args:
        scores: float [cases, 2].
    """
    broken = [
        f"{case.kind} {case.name} ({first:.4f}, {second:.4f})"
        for case, (first, second) in zip(cases, scores, strict=True)
        if not case.holds(float(first), float(second))
    ]
    seen = f"{len(cases) - len(broken)} of {len(cases)} hold"
    return _judgement("behaviour", not broken, "; ".join([seen, *broken[:SHOWN]]), "every case holds")


def hostile_rows(typical: np.ndarray) -> np.ndarray:
    """Return extreme inputs, float32 [n, features]: each extreme in all features, and in each feature alone.

    With more than `ALONE` features, so many blocks of neighbours take the extreme together: the rows of each feature
    alone would need memory with the square of their number.

    Args:
        typical: float32 [features], values of the other features; NaN where unknown.
    """
    width = len(typical)
    rows = [np.full(width, value) for value in EXTREMES]
    for place in np.array_split(np.arange(width), min(width, ALONE)):
        for value in EXTREMES:
            row = typical.astype(float)
            row[place] = value
            rows.append(row)
    return np.array(rows, dtype=np.float32)


def safe(task: Task) -> str:
    return f"{task.valid} for every input"


def judge_safety(task: Task, names: Sequence[str], rows: np.ndarray, scores: np.ndarray) -> Judgement:
    """Judge the extreme inputs: every answer must be valid for the kind of task.

    Raises:
        WrongAnswer: the answers have another shape.
    """
    bad = task.wrong_rows(scores, len(rows))
    shown = [f"{_describe(names, rows[place])} -> {scores[place]}" for place in bad[:SHOWN]]
    return _judgement(
        "safety", not len(bad), "; ".join([f"{len(bad)} of {len(rows)} inputs break it", *shown]), safe(task)
    )


def _describe(names: Sequence[str], row: np.ndarray) -> str:
    odd = [f"{name}={value:g}" for name, value in zip(names, row, strict=True) if value in EXTREMES[4:8]]
    return ", ".join(odd[:2]) or "a row of extremes"


def noisy(features: np.ndarray, deviations: float, random: np.random.Generator) -> np.ndarray:
    """Add Gaussian noise to every known value.

    Integers stay integers and every value stays in the observed range: noise must not create a new kind of input.

    Args:
        features: float32 [n, features]; NaN stays NaN.
        deviations: standard deviation of the noise, in standard deviations of the feature.
    """
    result = features.astype(float)
    for place in range(features.shape[1]):
        column = result[:, place]
        known = np.isfinite(column)
        if not known.any():
            continue
        values = column[known]
        moved = values + random.normal(0.0, deviations * values.std(), len(values))
        if (values == np.round(values)).all():
            moved = np.round(moved)
        column[known] = np.clip(moved, values.min(), values.max())
    return result.astype(np.float32)


def with_holes(features: np.ndarray, share: float, random: np.random.Generator) -> np.ndarray:
    """Set each value to NaN with probability `share`."""
    return np.where(random.random(features.shape) < share, np.float32(np.nan), features)


def judge_change(rule: str, change: np.ndarray, limit: float, output: str = "score") -> Judgement:
    """Judge the stability: the mean change of the answers must not exceed `limit`.

    Args:
        change: [n], as `Task.change` counts it.
    """
    mean = float(change.mean())
    return _judgement(
        rule,
        mean <= limit,
        f"{output} moves by {mean:.4f} on average, {change.max():.4f} at most, over {len(change)} rows",
        f"<= {limit:g} on average",
    )


def judge_files(problems: Sequence[str], count: int) -> Judgement:
    """Judge the file scan: only formats that cannot run code when they are read."""
    observed = "; ".join(problems[:SHOWN]) or f"{count} files"
    return _judgement("file_scan", not problems, observed, "only sound .onnx, .json and .parquet files")


def _judgement(rule: str, good: bool, observed: str, needed: str) -> Judgement:
    return Judgement(
        rule=rule, verdict=Verdict.PASS if good else Verdict.FAIL, observed=observed, needed=needed
    )
