"""The gate report: the rules applied to one digest, and the risk of releasing it."""

from __future__ import annotations

from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.release.approval import Risk
from perennial.core.verdict import Judgement, Verdict, worst


class GateReport(Frozen):
    """Verdict of the gate on one digest."""

    digest: str
    rules: tuple[Judgement, ...]
    risk: Risk
    risk_reasons: tuple[str, ...] = Field((), description="reasons for a high risk; empty at low risk")

    seal: str = Field("", description="hash over all that was gated (`core.training.capsule.seal`)")
    warnings: tuple[str, ...] = Field(
        (), description="harms that the release would miss more often than catch"
    )

    @property
    def verdict(self) -> Verdict:
        return worst(self.rules)

    @property
    def passed(self) -> bool:
        """True when the candidate may be approved.

        UNSURE passes: it raises the risk, so that a person looks at it. ERROR does not pass: a candidate that
        was not measured cannot be approved.
        """
        return self.verdict in (Verdict.PASS, Verdict.UNSURE)

    @property
    def failures(self) -> tuple[str, ...]:
        """Rules that keep the candidate out, in words."""
        return tuple(
            f"{rule.rule}: {rule.observed} (needed: {rule.needed})"
            for rule in self.rules
            if rule.verdict in (Verdict.FAIL, Verdict.ERROR)
        )

    def tags(self) -> dict[str, str]:
        """Return the report as tags of the version, where a person reads it before approving."""
        tags = {
            f"gate.{rule.rule}": f"{rule.verdict}: {rule.observed} ({rule.needed})" for rule in self.rules
        }
        if self.warnings:
            tags["gate.warnings"] = "; ".join(self.warnings)
        return {
            **tags,
            "gate.verdict": self.verdict.value,
            "gate.digest": self.digest,
            "gate.risk": "; ".join((self.risk.value, *self.risk_reasons)),
        }
