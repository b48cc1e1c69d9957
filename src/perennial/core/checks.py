"""Checks of a candidate beyond its accuracy, each a rule of the gate. Pure: rows in, scores in, verdict out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from perennial.core.spec import ChecksSpec
from perennial.core.verdict import Judgement, Verdict

EXTREMES = (0.0, -1.0, 1e6, -1e6, 1e30, -1e30, np.inf, -np.inf, np.nan)
"""Out-of-vocabulary codes (-1, 1e6), huge numbers, and what is no number."""
INTERVAL = (0.025, 0.975)
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


def judge_fairness(
    column: str,
    values: np.ndarray,
    wrong: np.ndarray,
    group: np.ndarray,
    spec: ChecksSpec,
    min_rows: int,
    sensitive: bool,
    resamples: int,
    random: np.random.Generator,
) -> Judgement:
    """The error rate must not differ too much between the groups of a sensitive column.

    Between the segments of any other column it is shown and not judged: some are harder to predict than
    others for every model (a test without history), and a drop on a segment against the champion is judged
    by `slice_drop`.

    The gap is the largest minus the smallest error rate (Fairlearn's `MetricFrame.difference`), its interval
    from resampled whole groups in time (CI cycles), whose rows are right or wrong together.

    Args:
        values: [n], the group of each row.
        wrong: bool [n].
        group: int [n], what is resampled as a whole.
        min_rows: a smaller group says nothing.
        sensitive: the spec names this column as one to protect: too few to say is then UNSURE.
    """
    rule, needed = f"fairness_{column}", f"gap of error rates <= {spec.error_gap:g}"
    names, counts = np.unique(values, return_counts=True)
    large = [str(name) for name, count in zip(names, counts, strict=True) if count >= min_rows]
    if len(large) < 2:
        sizes = ", ".join(f"{name}: {count}" for name, count in zip(names, counts, strict=True))
        verdict = Verdict.UNSURE if sensitive else Verdict.PASS
        told = f"too few to say, fewer than two groups of {min_rows} rows ({sizes})"
        return Judgement(rule=rule, verdict=verdict, observed=told, needed=needed)
    inside = np.isin(values, large)
    rates, low, high = _gap(values[inside], wrong[inside], group[inside], large, resamples, random)
    gap = max(rates.values()) - min(rates.values())
    verdict = Verdict.PASS
    if sensitive and gap > spec.error_gap:
        verdict = Verdict.FAIL if low > spec.error_gap else Verdict.UNSURE
    told = ", ".join(f"{name} {rate:.3f}" for name, rate in rates.items())
    observed = f"gap {gap:.3f} [{low:.3f}, {high:.3f}] ({told})"
    needed = needed if sensitive else "shown: no sensitive column"
    return Judgement(rule=rule, verdict=verdict, observed=observed, needed=needed)


def _gap(values, wrong, group, names: list[str], resamples: int, random: np.random.Generator):
    """Rates by name, and the interval of the largest minus the smallest."""
    cycles, code = np.unique(group, return_inverse=True)
    hits, rows = np.zeros((len(names), len(cycles))), np.zeros((len(names), len(cycles)))
    for place, name in enumerate(names):
        mine = values == name
        hits[place] = np.bincount(code[mine], weights=wrong[mine], minlength=len(cycles))
        rows[place] = np.bincount(code[mine], minlength=len(cycles))
    rates = hits.sum(axis=1) / rows.sum(axis=1)
    # How often each cycle is drawn, [resamples, cycles]: sums instead of copies of rows.
    drawn = random.multinomial(len(cycles), np.full(len(cycles), 1 / len(cycles)), size=resamples)
    with np.errstate(invalid="ignore", divide="ignore"):
        again = (drawn @ hits.T) / (drawn @ rows.T)
    low, high = np.nanquantile(np.nanmax(again, axis=1) - np.nanmin(again, axis=1), INTERVAL)
    return dict(zip(names, map(float, rates), strict=True)), float(low), float(high)


def judge_files(problems: Sequence[str], count: int) -> Judgement:
    """Only formats that cannot run code when they are read."""
    observed = "; ".join(problems[:SHOWN]) or f"{count} files"
    return _judgement("file_scan", not problems, observed, "only sound .onnx, .json and .parquet files")


def _judgement(rule: str, good: bool, observed: str, needed: str) -> Judgement:
    return Judgement(
        rule=rule, verdict=Verdict.PASS if good else Verdict.FAIL, observed=observed, needed=needed
    )
