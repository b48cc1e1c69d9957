"""PASS, FAIL, UNSURE, ERROR: what a measurement says about a candidate, and how several combine."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from pydantic import Field

from perennial.core.frozen import Frozen


class Verdict(StrEnum):
    PASS = "PASS"  # noqa: S105 a verdict, not a password
    UNSURE = "UNSURE"
    """Not enough data yet."""
    ERROR = "ERROR"
    """Could not be measured."""
    FAIL = "FAIL"

    @property
    def badness(self) -> int:
        """FAIL > ERROR > UNSURE > PASS: proven harm outweighs a gap in the measurement, since waiting
        for the gap to close would leave the harm in place."""
        return (Verdict.PASS, Verdict.UNSURE, Verdict.ERROR, Verdict.FAIL).index(self)


class MissingEvidence(Frozen):
    """What an UNSURE judgement still waits for; None: cannot be said yet."""

    requests: int | None = Field(description="to the candidate, at the rates seen so far")
    hours: float | None = Field(description="at the pace of the step so far")

    def __str__(self) -> str:
        if self.requests is None:
            return "how many more requests decide it cannot be said yet"
        time = "" if self.hours is None else f" or {self.hours:.3g} hours"
        return f"about {self.requests} requests{time} more"


class Judgement(Frozen):
    """One rule applied to one measurement, in words that a person can check."""

    rule: str
    verdict: Verdict
    observed: str = Field(description="what was measured, with its size")
    needed: str = Field(description="what the spec asks for")
    more: MissingEvidence | None = Field(None, description="of an UNSURE one, what would decide it")


def worst(judgements: Iterable[Judgement]) -> Verdict:
    """The worst verdict; nothing measured is UNSURE, never PASS."""
    return max((one.verdict for one in judgements), key=lambda v: v.badness, default=Verdict.UNSURE)
