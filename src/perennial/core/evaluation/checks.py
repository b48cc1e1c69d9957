"""Checks of a candidate beyond its accuracy, each a rule of the gate. Pure: rows in, scores in, verdict out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from perennial.core.verdict import Judgement, Verdict

EXTREMES = (0.0, -1.0, 1e6, -1e6, 1e30, -1e30, np.inf, -np.inf, np.nan)
"""Out-of-vocabulary codes (-1, 1e6), huge numbers, and what is no number."""
SHOWN = 5


@dataclass(frozen=True)
class Case:
    """One behavioural test: two inputs, and how their scores must compare.

    Kinds after M. Ribeiro et al., "Beyond Accuracy: Behavioral Testing of NLP Models with CheckList", ACL
    2020: `invariance` scores must agree within `tolerance`; `direction` and `minimum` (functionality so plain
    that every model must have it) the second must score above the first.
    """

    name: str
    kind: Literal["invariance", "direction", "minimum"]
    first: Mapping[str, float]
    """Feature -> value; a feature that is not named is not known (NaN)."""
    second: Mapping[str, float]
    tolerance: float = 0.0

    def rows(self, names: Sequence[str]) -> np.ndarray:
        """float32 [2, features] in the order of `names`."""
        return np.array(
            [[side.get(name, np.nan) for name in names] for side in (self.first, self.second)],
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
    """Every case must hold.

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


SAFE = "a number in [0, 1] for every input"


def hostile_rows(typical: np.ndarray) -> np.ndarray:
    """Rows that a careless caller may send, float32 [n, features].

    Every extreme in every feature at once, and in each one alone.

    Args:
        typical: float32 [features], NaN where nothing is typical: the rest of a row.
    """
    width = len(typical)
    rows = [np.full(width, value) for value in EXTREMES]
    for place in range(width):
        for value in EXTREMES:
            row = typical.astype(float)
            row[place] = value
            rows.append(row)
    return np.array(rows, dtype=np.float32)


def judge_safety(names: Sequence[str], rows: np.ndarray, scores: np.ndarray) -> Judgement:
    """No input may bring anything else than a number in [0, 1]."""
    bad = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    shown = [f"{_describe(names, rows[place])} -> {scores[place]}" for place in bad[:SHOWN]]
    return _judgement(
        "safety", not len(bad), "; ".join([f"{len(bad)} of {len(rows)} inputs break it", *shown]), SAFE
    )


def _describe(names: Sequence[str], row: np.ndarray) -> str:
    odd = [f"{name}={value:g}" for name, value in zip(names, row, strict=True) if value in EXTREMES[4:8]]
    return ", ".join(odd[:2]) or "a row of extremes"


def noisy(features: np.ndarray, deviations: float, random: np.random.Generator) -> np.ndarray:
    """Gaussian noise on every known value, as many standard deviations of its feature.

    What is whole stays whole and nothing leaves the range that was seen: noise is no new kind of input.

    Args:
        features: float32 [n, features]; NaN stays NaN.
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
    """Each value missing with this chance."""
    return np.where(random.random(features.shape) < share, np.float32(np.nan), features)


def judge_change(rule: str, before: np.ndarray, after: np.ndarray, limit: float) -> Judgement:
    """The mean absolute change of the score must stay within `limit`."""
    change = np.abs(after - before)
    mean = float(change.mean())
    return _judgement(
        rule,
        mean <= limit,
        f"score moves by {mean:.4f} on average, {change.max():.4f} at most, over {len(change)} rows",
        f"<= {limit:g} on average",
    )


def judge_files(problems: Sequence[str], count: int) -> Judgement:
    """Only formats that cannot run code when they are read."""
    observed = "; ".join(problems[:SHOWN]) or f"{count} files"
    return _judgement("file_scan", not problems, observed, "only sound .onnx, .json and .parquet files")


def _judgement(rule: str, good: bool, observed: str, needed: str) -> Judgement:
    return Judgement(
        rule=rule, verdict=Verdict.PASS if good else Verdict.FAIL, observed=observed, needed=needed
    )
