"""What counts as reproduced, and what the gate makes of it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from perennial.core.events import Entry, Event
from perennial.core.gate_spec import ReproductionSpec
from perennial.core.governance.ledger import GENESIS, chain
from perennial.core.training import reproduction
from perennial.core.training.capsule import Capsule, Provenance
from perennial.core.training.reproduction import Reproduction, ReproductionOutcome
from perennial.core.verdict import Verdict

NOW = Provenance(code="a" * 40, features="f", constraints="c", model_code="m")
CAPSULE = Capsule(
    code="a" * 40,
    data={},
    source="s",
    features="f",
    spec="d",
    parameters={},
    constraints="c",
    model="same",
)
TOLERANCE = {"roc_auc": 0.01}


def spec(evidence="optional"):
    return ReproductionSpec(evidence=evidence, tolerance=TOLERANCE)


def found(outcome=ReproductionOutcome.SAME, others=()):
    return Reproduction(
        version="1.0.0",
        digest="same",
        again="x",
        outcome=outcome,
        metrics=(),
        score_difference=0.0,
        rows=10,
        differences=others,
        seconds=1.0,
    )


def row(one, seq=1, digest="same"):
    payload = {"reproduction": one if isinstance(one, dict) else one.model_dump(mode="json")}
    entry = Entry(
        at=datetime(2026, 1, 1, tzinfo=UTC),
        actor="ann",
        kind=Event.VERSION_REPRODUCED,
        model="m",
        digest=digest,
        payload=payload,
    )
    return chain(entry, seq, GENESIS)


@pytest.mark.parametrize(
    ("capsule", "changed", "told"),
    [
        (CAPSULE, [], []),
        (CAPSULE, ["src/a.py"], ["src/a.py"]),
        (CAPSULE, [f"src/{n}.py" for n in range(9)], ["and 4 more"]),
        (CAPSULE, None, ["does not have the commit"]),
        (CAPSULE.model_copy(update={"code": "a" * 40 + "+dirty"}), [], ["no commit holds"]),
        (CAPSULE.model_copy(update={"features": "g"}), [], ["feature definitions"]),
        (CAPSULE.model_copy(update={"spec": "e", "constraints": "b"}), [], ["spec", "packages"]),
    ],
)
def test_differences(capsule, changed, told):
    differ = reproduction.differences(capsule, NOW, "d", changed)
    assert len(differ) == len(told)
    assert all(words in line for words, line in zip(told, differ, strict=True))


@pytest.mark.parametrize(
    ("again", "auc", "outcome"),
    [
        ("same", 0.5, ReproductionOutcome.SAME),
        ("other", 0.79, ReproductionOutcome.WITHIN),
        ("other", 0.7, ReproductionOutcome.DIFFERS),
        ("other", float("nan"), ReproductionOutcome.DIFFERS),
    ],
)
def test_outcome(again, auc, outcome):
    metrics = reproduction.compare({"roc_auc": 0.795, "brier": 1}, {"roc_auc": auc, "brier": 2}, TOLERANCE)
    assert reproduction.outcome("same", again, metrics) is outcome


@pytest.mark.parametrize(
    ("rows", "optional", "required"),
    [
        ([], Verdict.PASS, Verdict.ERROR),
        ([row(found(), digest="another")], Verdict.PASS, Verdict.ERROR),
        ([row(found())], Verdict.PASS, Verdict.PASS),
        ([row(found(ReproductionOutcome.WITHIN))], Verdict.PASS, Verdict.PASS),
        ([row(found(ReproductionOutcome.DIFFERS))], Verdict.UNSURE, Verdict.FAIL),
        ([row(found(ReproductionOutcome.DIFFERS)), row(found(), 2)], Verdict.PASS, Verdict.PASS),
        ([row(found()), row(found(ReproductionOutcome.DIFFERS), 2)], Verdict.UNSURE, Verdict.FAIL),
        ([row(found(others=("code",)))], Verdict.PASS, Verdict.PASS),
        ([row(found(ReproductionOutcome.WITHIN, ("code",)))], Verdict.UNSURE, Verdict.UNSURE),
        ([row({"nonsense": 1})], Verdict.ERROR, Verdict.ERROR),
    ],
)
def test_gate(rows, optional, required):
    assert reproduction.judge(spec(), "same", rows).verdict is optional
    judged = reproduction.judge(spec("required"), "same", rows)
    assert judged.verdict is required
    assert judged.rule == "reproduction"


def test_evidence_names_entry_and_person():
    assert "by ann, entry 1" in reproduction.judge(spec(), "same", [row(found())]).observed
    assert reproduction.judge(spec(), "same", []).observed == "not measured"
