"""What the gate says of one digest: the rules applied, and how much is at risk."""

from __future__ import annotations

from pydantic import Field

from perennial.core.frozen import Frozen
from perennial.core.release.approval import Risk
from perennial.core.verdict import Judgement, Verdict, worst


class GateReport(Frozen):
    """The gate's answer about one digest."""

    digest: str
    rules: tuple[Judgement, ...]
    risk: Risk
    risk_reasons: tuple[str, ...] = Field((), description="why the risk is high; empty when it is low")

    seal: str = Field(
        "", description="over all that was gated (`core.training.capsule.seal`); old reports lack it"
    )
    warnings: tuple[str, ...] = Field((), description="harms that the release would rather miss than catch")

    @property
    def verdict(self) -> Verdict:
        return worst(self.rules)

    @property
    def passed(self) -> bool:
        """UNSURE passes: it raises the risk instead, so that a person looks where the spec wants one.
        ERROR does not: what was not measured cannot be approved."""
        return self.verdict in (Verdict.PASS, Verdict.UNSURE)

    @property
    def failures(self) -> tuple[str, ...]:
        """The rules that keep the candidate out, in words."""
        return tuple(
            f"{one.rule}: {one.observed} (needed: {one.needed})"
            for one in self.rules
            if one.verdict in (Verdict.FAIL, Verdict.ERROR)
        )

    def tags(self) -> dict[str, str]:
        """The report as tags for the version, where a person reads it before approving."""
        told = {f"gate.{one.rule}": f"{one.verdict}: {one.observed} ({one.needed})" for one in self.rules}
        if self.warnings:
            told["gate.warnings"] = "; ".join(self.warnings)
        return {
            **told,
            "gate.verdict": self.verdict.value,
            "gate.digest": self.digest,
            "gate.risk": "; ".join((self.risk.value, *self.risk_reasons)),
        }
