"""Comparison of a version with a model trained again from its capsule, and the rule of the gate about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from pydantic import Field, ValidationError

from perennial.core.events import LedgerRow
from perennial.core.frozen import Frozen
from perennial.core.gate_spec import ReproductionSpec
from perennial.core.training.capsule import Capsule, Provenance
from perennial.core.verdict import Judgement, Verdict

RULE = "reproduction"
SHOWN = 5


class ReproductionOutcome(StrEnum):
    """Result of a reproduction."""

    SAME = "same digest"
    """Byte for byte the same model file."""
    WITHIN = "within tolerance"
    """Another file whose holdout metrics differ by at most the tolerance of the spec."""
    DIFFERS = "not reproduced"


class RepeatedMetric(Frozen):
    """A metric of the version and of the model trained again, on the same holdout rows."""

    metric: str
    version: float
    again: float
    tolerance: float

    @property
    def within(self) -> bool:
        """Return whether the difference is within the tolerance; NaN is not."""
        return abs(self.again - self.version) <= self.tolerance


class Reproduction(Frozen):
    """Result of training a version again."""

    version: str
    digest: str = Field(description="digest of the version")
    model: str = Field("", description="SHA-256 of its model file; empty in entries from before it was kept")
    again: str = Field(description="SHA-256 of the model file trained again")
    outcome: ReproductionOutcome
    metrics: tuple[RepeatedMetric, ...]
    score_difference: float = Field(description="largest absolute difference on the holdout rows")
    rows: int = Field(description="holdout rows")
    differences: tuple[str, ...] = Field(description="inputs that have changed since the version's training")
    seconds: float

    @property
    def reproduced(self) -> bool:
        """Return whether the digest or the metrics agree."""
        return self.outcome is not ReproductionOutcome.DIFFERS

    def summary(self) -> str:
        """Return a line of text for ledger, tag and gate."""
        text = (
            f"{self.outcome.value} (scores differ by {self.score_difference:.2e} at most on {self.rows} rows)"
        )
        if self.differences:
            text += f", trained with other {'; other '.join(self.differences)}"
        return text


def differences(
    capsule: Capsule, now: Provenance, spec: str, changed: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the inputs of a training here that differ from the capsule, as texts.

    Args:
        spec: digest of the spec as it is now.
        changed: files that differ from the capsule's commit; None when the checkout lacks that commit.
    """
    differences = []
    if "+dirty" in capsule.code:
        differences.append("code: the version was trained with changes that no commit holds")
    elif changed is None:
        differences.append(f"code: this checkout does not have the commit {capsule.code[:12]}")
    elif changed:
        more = f" and {len(changed) - SHOWN} more" if len(changed) > SHOWN else ""
        differences.append(f"code: {', '.join(changed[:SHOWN])}{more} since {capsule.code[:12]}")
    for name, then, today in (
        ("feature definitions", capsule.features, now.features),
        ("spec", capsule.spec, spec),
        ("packages (constraints.txt)", capsule.constraints, now.constraints),
    ):
        if then != today:
            differences.append(f"{name}: {today[:12]}, then {then[:12]}")
    return tuple(differences)


def compare(
    version: Mapping[str, float], again: Mapping[str, float], tolerance: Mapping[str, float]
) -> tuple[RepeatedMetric, ...]:
    """Pair the metrics that have a tolerance."""
    return tuple(
        RepeatedMetric(metric=name, version=version[name], again=again[name], tolerance=within)
        for name, within in tolerance.items()
    )


def outcome(model: str, again: str, metrics: Iterable[RepeatedMetric]) -> ReproductionOutcome:
    """Return the outcome from the two digests and the compared metrics."""
    if model == again:
        return ReproductionOutcome.SAME
    return (
        ReproductionOutcome.WITHIN
        if all(metric.within for metric in metrics)
        else ReproductionOutcome.DIFFERS
    )


def unmeasurable(spec: ReproductionSpec) -> Judgement:
    """Judge an imported version, which cannot be trained again here: ERROR if the spec requires it, else UNSURE."""
    required = spec.evidence == "required"
    return Judgement(
        rule=RULE,
        verdict=Verdict.ERROR if required else Verdict.UNSURE,
        observed="imported: neither its data nor its code is here to train it again",
        needed=f"{'' if required else 'if measured: '}same digest, or metrics within the tolerance",
    )


def judge(spec: ReproductionSpec, digest: str, rows: Iterable[LedgerRow]) -> Judgement:
    """Judge the last reproduction of this digest on the ledger.

    Without a reproduction the verdict is ERROR if the spec requires one, else PASS. A failed reproduction is
    FAIL if required, else UNSURE, so that a person looks. A model within the tolerance that other inputs have
    made is UNSURE too.

    Args:
        rows: entries of the kind VERSION_REPRODUCED, in order of sequence.
    """
    required = spec.evidence == "required"
    needed = f"{'' if required else 'if measured: '}same digest, or metrics within the tolerance"
    mine = [row for row in rows if row.entry.digest == digest]
    if not mine:
        verdict = Verdict.ERROR if required else Verdict.PASS
        return Judgement(rule=RULE, verdict=verdict, observed="not measured", needed=needed)
    entry = mine[-1].entry
    try:
        reproduction = Reproduction.model_validate(entry.payload.get("reproduction"))
    except ValidationError:
        return Judgement(
            rule=RULE, verdict=Verdict.ERROR, observed=f"entry {mine[-1].seq} cannot be read", needed=needed
        )
    if reproduction.outcome is ReproductionOutcome.DIFFERS:
        verdict = Verdict.FAIL if required else Verdict.UNSURE
    elif reproduction.differences and reproduction.outcome is not ReproductionOutcome.SAME:
        verdict = Verdict.UNSURE
    else:
        verdict = Verdict.PASS
    observed = (
        f"{reproduction.summary()}, {entry.at:%Y-%m-%d %H:%M} UTC by {entry.actor}, entry {mine[-1].seq}"
    )
    return Judgement(rule=RULE, verdict=verdict, observed=observed, needed=needed)
