"""Two versions asked the very same: how often, where and by how much their answers differ. Pure.

Rows of one request (tests of one CI cycle) agree or disagree together, so the rate is a mean over requests of
the share of their rows that disagree, and its bounds count requests. They hold at every look
(`perennial.core.statistics`): a shadow may be watched while it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from perennial.core.frozen import Frozen, Share
from perennial.core.statistics import proportion_bounds

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class DisagreementRate(Frozen):
    """A share of rows, averaged over requests, with bounds that hold at every look."""

    value: Share | None = Field(description="None without a single request")
    low: Share
    high: Share
    rows: int
    requests: int

    def __str__(self) -> str:
        if self.value is None:
            return "no requests"
        return f"{self.value:.2%} [{self.low:.2%}, {self.high:.2%}] of {self.requests} requests"


class ScoreShift(Frozen):
    """Candidate minus champion, over rows."""

    mean: float
    quantiles: dict[str, float] = Field(description="p05 ... p95")
    largest: float = Field(description="largest absolute difference")


class Latency(Frozen):
    """Of one version at its model server, over requests, in milliseconds."""

    p50_ms: float
    p95_ms: float
    requests: int


class DisagreementExample(Frozen):
    """One row that both versions answered."""

    request_id: str
    entity: str = Field(description="JSON text")
    champion: float
    candidate: float
    decided_otherwise: bool


class AnswerDisagreement(Frozen):
    """What a candidate would have said, beside what the champion said."""

    changed: DisagreementRate = Field(description="rows that the two versions decide differently")
    shift: ScoreShift | None = Field(description="None without a pair")
    champion_latency: Latency | None = None
    candidate_latency: Latency | None = None
    unanswered: int = Field(ge=0, description="requests that the champion answered and the candidate did not")
    unusable: int = Field(0, ge=0, description="pairs without a score in [0, 1] of the candidate")
    examples: tuple[DisagreementExample, ...] = Field((), description="the largest differences first")


@dataclass(frozen=True)
class PairedAnswers:
    """Rows that both versions answered."""

    request_id: Sequence[str]
    entity: Sequence[str]
    champion: np.ndarray
    """float [n]: scores."""
    candidate: np.ndarray
    """float [n]: scores; anything else than a number in [0, 1] is counted and compared with nothing."""
    champion_decision: np.ndarray
    """int [n]: 1 from the threshold of the version on."""
    candidate_decision: np.ndarray
    """int [n]."""


def measure_disagreement(
    pairs: PairedAnswers,
    confidence: float,
    examples: int,
    unanswered: int = 0,
    champion_latency: Latency | None = None,
    candidate_latency: Latency | None = None,
) -> AnswerDisagreement:
    """Measure how the answers differ.

    Args:
        confidence: chance that both bounds of the rate hold at every look, in (0, 1).
        examples: how many of the largest differences to keep.
        unanswered: requests that have no row here because the candidate did not answer.
    """
    usable = np.isfinite(pairs.champion) & (pairs.candidate >= 0) & (pairs.candidate <= 1)
    names = np.asarray(pairs.request_id, dtype=object)[usable]
    changed = (pairs.champion_decision != pairs.candidate_decision)[usable]
    difference = (pairs.candidate - pairs.champion)[usable]
    kept = np.flatnonzero(usable)[np.argsort(-np.abs(difference), kind="stable")[:examples]]
    return AnswerDisagreement(
        changed=rate(changed, names, confidence),
        shift=_shift(difference) if len(difference) else None,
        champion_latency=champion_latency,
        candidate_latency=candidate_latency,
        unanswered=unanswered,
        unusable=int((~usable).sum()),
        examples=tuple(_example(pairs, place) for place in kept),
    )


def rate(hit: np.ndarray, request: np.ndarray, confidence: float) -> DisagreementRate:
    """The share of rows that are hit, by request.

    Args:
        hit: bool [n].
        request: [n], which request a row belongs to.
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
    """Of one value per request; None of none."""
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


def _example(pairs: PairedAnswers, place: int) -> DisagreementExample:
    return DisagreementExample(
        request_id=str(pairs.request_id[place]),
        entity=str(pairs.entity[place]),
        champion=float(pairs.champion[place]),
        candidate=float(pairs.candidate[place]),
        decided_otherwise=bool(pairs.champion_decision[place] != pairs.candidate_decision[place]),
    )
