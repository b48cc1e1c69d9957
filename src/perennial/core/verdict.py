"""Verdicts (PASS, UNSURE, ERROR, FAIL), judgements of single rules, and their combination."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field

from perennial.core.frozen import Frozen


class Verdict(StrEnum):
    """Result of a rule, from best to worst."""

    PASS = "PASS"  # noqa: S105 a verdict, not a password
    UNSURE = "UNSURE"
    """Not enough data yet."""
    ERROR = "ERROR"
    """Could not be measured."""
    FAIL = "FAIL"

    @property
    def badness(self) -> int:
        """Rank for the combination of verdicts: FAIL > ERROR > UNSURE > PASS.

        Proven harm outweighs a gap in the measurement: waiting for the gap to close would leave the harm.
        """
        return list(Verdict).index(self)


class MissingEvidence(Frozen):
    """Evidence that an UNSURE judgement still needs; None: not known yet."""

    requests: int | None = Field(description="to the candidate, at the rates seen so far")
    hours: float | None = Field(description="at the pace of the step so far")

    def __str__(self) -> str:
        if self.requests is None:
            return "how many more requests decide it cannot be said yet"
        time = "" if self.hours is None else f" or {self.hours:.3g} hours"
        return f"about {self.requests} requests{time} more"


class Judgement(Frozen):
    """Result of a rule on a measurement, in words that a person can check."""

    rule: str
    verdict: Verdict
    observed: str = Field(description="the measurement, with its sample size")
    needed: str = Field(description="requirement of the spec")
    more: MissingEvidence | None = Field(None, description="evidence that would decide an UNSURE judgement")


def worst(judgements: Iterable[Judgement]) -> Verdict:
    """Return the worst verdict; without any judgement UNSURE, never PASS."""
    verdicts = (judgement.verdict for judgement in judgements)
    return max(verdicts, key=lambda verdict: verdict.badness, default=Verdict.UNSURE)
