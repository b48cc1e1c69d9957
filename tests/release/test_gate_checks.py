"""The checks of a candidate's files decide about its release."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from perennial.core.events import Entry
from perennial.core.release.phase import Phase
from perennial.core.training.reproduction import Reproduction, ReproductionOutcome
from perennial.core.verdict import Judgement, Verdict


def test_candidate_that_fails_a_check_gets_no_traffic(world):
    bad = Judgement(rule="safety", verdict=Verdict.FAIL, observed="nan", needed="a number")
    seen = []

    def checks(spec, files):
        seen.append((spec.name, (files / "model.onnx").is_file()))
        return (bad,)

    world.ports = dataclasses.replace(world.ports, checks=checks)
    world.versions.add("1.0.0")
    status = world.start()
    assert (status.phase, status.gate.rules[-1]) == (Phase.REJECTED, bad)
    assert seen == [(world.spec.name, True)]
    gated = next(row.entry for row in world.store.ledger.rows() if row.entry.kind == "release.gated")
    assert gated.payload["rules"][-1]["rule"] == "safety"
    assert world.versions.records["1"].tags["gate.safety"].startswith("FAIL")


def test_candidate_that_fails_a_check_is_loaded_by_no_server_and_the_next_one_is_released(world):
    """A server could refuse or hang on it; then the gate would raise, and the release would stay PENDING."""
    bad = Judgement(rule="file_scan", verdict=Verdict.FAIL, observed="loops for ever", needed="sound files")
    sound = world.ports
    world.ports = dataclasses.replace(world.ports, checks=lambda spec, files: (bad,))
    record = world.versions.add("1.0.0")
    world.pool.broken[record.ref.digest] = "loops for ever"
    status = world.start()
    assert status.phase is Phase.REJECTED
    assert any("loops for ever" in failure for failure in status.gate.failures)
    assert world.pool.holds("canary") == []
    world.ports = sound
    assert world.release_first("1.1.0").phase is Phase.SUCCEEDED


def test_candidate_without_consent_gets_no_traffic(world):
    refused = Judgement(rule="data_consent", verdict=Verdict.FAIL, observed="refused", needed="given")
    world.ports = dataclasses.replace(world.ports, terms=lambda spec, record: (refused,))
    world.versions.add("1.0.0")
    status = world.start()
    assert status.phase is Phase.REJECTED
    assert world.versions.records["1"].tags["gate.data_consent"].startswith("FAIL")


@pytest.mark.parametrize(
    ("outcome", "optional", "required"),
    [
        (None, Verdict.PASS, Verdict.ERROR),
        (ReproductionOutcome.SAME, Verdict.PASS, Verdict.PASS),
        (ReproductionOutcome.DIFFERS, Verdict.UNSURE, Verdict.FAIL),
    ],
)
@pytest.mark.parametrize("evidence", ["optional", "required"])
def test_last_reproduction_on_the_ledger_is_a_rule(world, outcome, optional, required, evidence):
    gate = world.spec.gate
    wanted = gate.reproduction.model_copy(update={"evidence": evidence})
    world.spec = world.spec.model_copy(update={"gate": gate.model_copy(update={"reproduction": wanted})})
    record = world.versions.add("1.0.0")
    if outcome is not None:
        world.store.ledger.append(reproduced(record.ref, outcome, world.now - timedelta(hours=1)))
    status = world.start()
    rule = next(one for one in status.gate.rules if one.rule == "reproduction")
    assert rule.verdict is (required if evidence == "required" else optional)
    assert (status.phase is Phase.REJECTED) is (rule.verdict in (Verdict.ERROR, Verdict.FAIL))


def reproduced(ref, outcome, at):
    found = Reproduction(
        version=ref.version,
        digest=ref.digest,
        again="x",
        outcome=outcome,
        metrics=(),
        score_difference=0.0,
        rows=1,
        differences=(),
        seconds=1.0,
    )
    return Entry(
        at=at,
        actor="ann",
        kind="version.reproduced",
        model=ref.model,
        digest=ref.digest,
        payload={"version": ref.version, "reproduction": found.model_dump(mode="json")},
    )
