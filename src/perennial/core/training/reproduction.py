"""Does training again from a version's capsule give that version? What is compared, and what the gate says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from pydantic import Field, ValidationError

from perennial.core.events import LedgerRow
from perennial.core.frozen import Frozen
from perennial.core.gate_spec import ReproductionSpec
from perennial.core.training.capsule import Capsule, Provenance
from perennial.core.verdict import Judgement, Verdict

"""Kind of the ledger entry that holds a `Reproduction`, whatever came of it."""
RULE = "reproduction"
SHOWN = 5


class ReproductionOutcome(StrEnum):
    SAME = "same digest"
    """Byte for byte the same model file."""
    WITHIN = "within tolerance"
    """Another file whose metrics on the holdout are those of the version, as near as the spec wants."""
    DIFFERS = "not reproduced"


class RepeatedMetric(Frozen):
    """One metric of the version and of the model trained again, on the same holdout rows."""

    metric: str
    version: float
    again: float
    tolerance: float

    @property
    def within(self) -> bool:
        """Written so that NaN is outside."""
        return abs(self.again - self.version) <= self.tolerance


class Reproduction(Frozen):
    """What training again gave."""

    version: str
    digest: str = Field(description="of the version")
    again: str = Field(description="digest of the model trained again")
    outcome: ReproductionOutcome
    metrics: tuple[RepeatedMetric, ...]
    score_difference: float = Field(description="largest absolute one on the holdout rows")
    rows: int = Field(description="of the holdout")
    differences: tuple[str, ...] = Field(description="what was not as when the version was trained")
    seconds: float

    @property
    def reproduced(self) -> bool:
        return self.outcome is not ReproductionOutcome.DIFFERS

    def summary(self) -> str:
        """One line for ledger, tag and gate."""
        told = (
            f"{self.outcome.value} (scores differ by {self.score_difference:.2e} at most on {self.rows} rows)"
        )
        if self.differences:
            told += f", trained with other {'; other '.join(self.differences)}"
        return told


def differences(
    capsule: Capsule, now: Provenance, spec: str, changed: Sequence[str] | None
) -> tuple[str, ...]:
    """What a training here starts from that is not what the capsule names, in words.

    Args:
        spec: digest of the spec as it is now.
        changed: files that differ from the capsule's commit; None when that commit is not to be had.
    """
    found = []
    if capsule.code.endswith("+dirty"):
        found.append("code: the version was trained with changes that no commit holds")
    elif changed is None:
        found.append(f"code: this checkout does not have the commit {capsule.code[:12]}")
    elif changed:
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        found.append(f"code: {', '.join(changed[:SHOWN])}{more} since {capsule.code[:12]}")
    for name, then, today in (
        ("feature definitions", capsule.features, now.features),
        ("spec", capsule.spec, spec),
        ("packages (constraints.txt)", capsule.constraints, now.constraints),
    ):
        if then != today:
            found.append(f"{name}: {today[:12]}, then {then[:12]}")
    return tuple(found)


def compare(
    version: Mapping[str, float], again: Mapping[str, float], tolerance: Mapping[str, float]
) -> tuple[RepeatedMetric, ...]:
    """The metrics that the spec bounds, side by side."""
    return tuple(
        RepeatedMetric(metric=name, version=version[name], again=again[name], tolerance=within)
        for name, within in tolerance.items()
    )


def outcome(digest: str, again: str, metrics: Iterable[RepeatedMetric]) -> ReproductionOutcome:
    if digest == again:
        return ReproductionOutcome.SAME
    return ReproductionOutcome.WITHIN if all(one.within for one in metrics) else ReproductionOutcome.DIFFERS


def judge(spec: ReproductionSpec, digest: str, rows: Iterable[LedgerRow]) -> Judgement:
    """The rule of the gate, by the last reproduction of this digest on the ledger.

    Without evidence it blocks only where the spec requires some. Evidence against it is FAIL then, else
    UNSURE: a person looks. So is a model that only comes close, made by other code than the version's.

    Args:
        rows: entries of the kind VERSION_REPRODUCED, in order.
    """
    required = spec.evidence == "required"
    needed = f"{'' if required else 'if measured: '}same digest, or metrics within the tolerance"
    mine = [row for row in rows if row.entry.digest == digest]
    if not mine:
        verdict = Verdict.ERROR if required else Verdict.PASS
        return Judgement(rule=RULE, verdict=verdict, observed="not measured", needed=needed)
    entry = mine[-1].entry
    try:
        found = Reproduction.model_validate(entry.payload.get("reproduction"))
    except ValidationError:
        return Judgement(
            rule=RULE, verdict=Verdict.ERROR, observed=f"entry {mine[-1].seq} cannot be read", needed=needed
        )
    if found.outcome is ReproductionOutcome.DIFFERS:
        verdict = Verdict.FAIL if required else Verdict.UNSURE
    elif found.differences and found.outcome is not ReproductionOutcome.SAME:
        verdict = Verdict.UNSURE
    else:
        verdict = Verdict.PASS
    observed = f"{found.summary()}, {entry.at:%Y-%m-%d %H:%M} UTC by {entry.actor}, entry {mine[-1].seq}"
    return Judgement(rule=RULE, verdict=verdict, observed=observed, needed=needed)
