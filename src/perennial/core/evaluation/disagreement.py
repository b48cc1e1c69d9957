"""Disagreement of two versions on the same requests: how often, where and by how much answers differ.

Rows of a request (tests of a CI cycle) are correlated, so the rate is the mean over requests of the share of
rows that disagree, and its bounds count requests. The bounds are valid at every look
(`perennial.core.statistics`): a shadow may be watched while it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen, Share
from perennial.core.statistics import proportion_bounds
from perennial.core.tasks import Task

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class DisagreementRate(Frozen):
    """Share of rows, averaged over requests, with bounds that are valid at every look."""

    value: Share | None = Field(description="None without requests")
    low: Share
    high: Share
    rows: int
    requests: int

    def __str__(self) -> str:
        if self.value is None:
            return "no requests"
        return f"{self.value:.2%} [{self.low:.2%}, {self.high:.2%}] of {self.requests} requests"


class ScoreShift(Frozen):
    """Distribution of the score of the candidate minus the score of the champion, over rows."""

    mean: float
    quantiles: dict[str, float] = Field(description="p05 ... p95")
    largest: float = Field(description="largest absolute difference")


class Latency(Frozen):
    """Latency of a version at its model server, over requests, in milliseconds."""

    p50_ms: float
    p95_ms: float
    requests: int


class DisagreementExample(Frozen):
    """Row that both versions answered."""

    request_id: str
    entity: str = Field(description="JSON text")
    champion: float
    candidate: float
    decided_otherwise: bool


class AnswerDisagreement(Frozen):
    """Disagreement between the answers of candidate and champion."""

    changed: DisagreementRate = Field(description="rows whose answers differ for the caller")
    shift: ScoreShift | None = Field(description="None without pairs")
    champion_latency: Latency | None = None
    candidate_latency: Latency | None = None
    unanswered: int = Field(ge=0, description="requests answered by the champion only")
    unusable: int = Field(0, ge=0, description="pairs whose candidate score is not valid for the task")
    examples: tuple[DisagreementExample, ...] = Field((), description="the largest differences first")


@dataclass(frozen=True)
class PairedAnswers:
    """Rows that both versions answered."""

    request_id: Sequence[str]
    entity: Sequence[str]
    champion: np.ndarray
    """float [n]: scores."""
    candidate: np.ndarray
    """float [n]: scores; one that the task does not allow is counted as unusable and not compared."""
    champion_decision: np.ndarray
    """int [n]: decision of the version (`Task.decisions`)."""
    candidate_decision: np.ndarray
    """int [n]."""
    task: Task

    @property
    def changed(self) -> np.ndarray:
        """Return whether the answers to each row differ for the caller, bool [n]."""
        return self.task.differs(
            self.champion, self.champion_decision, self.candidate, self.candidate_decision
        )


def measure_disagreement(
    pairs: PairedAnswers,
    confidence: float,
    examples: int,
    unanswered: int = 0,
    champion_latency: Latency | None = None,
    candidate_latency: Latency | None = None,
) -> AnswerDisagreement:
    """Measure the disagreement of paired answers.

    Args:
        confidence: probability that both bounds of the rate hold at every look, in (0, 1).
        examples: number of largest differences to keep.
        unanswered: requests without rows here, because the candidate did not answer.
    """
    usable = np.isfinite(pairs.champion) & pairs.task.valid_summary(pairs.candidate)
    differs = pairs.changed
    names = np.asarray(pairs.request_id, dtype=object)[usable]
    changed = differs[usable]
    difference = (pairs.candidate - pairs.champion)[usable]
    kept = np.flatnonzero(usable)[np.argsort(-np.abs(difference), kind="stable")[:examples]]
    return AnswerDisagreement(
        changed=rate(changed, names, confidence),
        shift=_shift(difference) if len(difference) else None,
        champion_latency=champion_latency,
        candidate_latency=candidate_latency,
        unanswered=unanswered,
        unusable=int((~usable).sum()),
        examples=tuple(_example(pairs, place, bool(differs[place])) for place in kept),
    )


def rate(hit: np.ndarray, request: np.ndarray, confidence: float) -> DisagreementRate:
    """Return the share of rows with `hit`, averaged over requests.

    Args:
        hit: bool [n].
        request: [n], request id of each row.
    """
    if len(hit) == 0:
        return DisagreementRate(value=None, low=0.0, high=1.0, rows=0, requests=0)
    _, code = np.unique(np.asarray(request, dtype=str), return_inverse=True)
    shares = np.bincount(code, weights=hit.astype(float)) / np.bincount(code)
    count = len(shares)
    total = min(float(shares.sum()), float(count))
    low, high = proportion_bounds(total, count, confidence)
    return DisagreementRate(value=total / count, low=low, high=high, rows=len(hit), requests=count)


def latency(milliseconds: np.ndarray) -> Latency | None:
    """Return the quantiles of a value per request; None without values."""
    if len(milliseconds) == 0:
        return None
    p50, p95 = np.quantile(milliseconds, [0.5, 0.95], method="inverted_cdf")
    return Latency(p50_ms=float(p50), p95_ms=float(p95), requests=len(milliseconds))


def _shift(difference: np.ndarray) -> ScoreShift:
    values = np.quantile(difference, QUANTILES)
    return ScoreShift(
        mean=float(difference.mean()),
        quantiles={f"p{round(100 * q):02d}": float(v) for q, v in zip(QUANTILES, values, strict=True)},
        largest=float(np.abs(difference).max()),
    )


def _example(pairs: PairedAnswers, place: int, changed: bool) -> DisagreementExample:
    return DisagreementExample(
        request_id=str(pairs.request_id[place]),
        entity=str(pairs.entity[place]),
        champion=float(pairs.champion[place]),
        candidate=float(pairs.candidate[place]),
        decided_otherwise=changed,
    )
