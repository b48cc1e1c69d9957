"""The checks of a candidate's files decide about its release."""

from __future__ import annotations

import dataclasses

from perennial.core.release import Phase
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
