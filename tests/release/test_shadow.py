"""Mirrored answers are paired with the champion's, shown, and kept when SHADOW ends."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from perennial.cli import main
from perennial.core.governance.ledger import verify
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.errors import MalformedInput, ReleaseError
from perennial.flows.release.shadow import observe_shadow, shadow_of

MODEL = "test_failure_predictor"


def answer(world, digest: str, request: str, scores, shadow: bool = False, entities=None) -> None:
    """One logged request with a row per score."""
    for place, score in enumerate(scores):
        name = entities[place] if entities else f"t{place}"
        world.predictions.rows.append(
            {
                "prediction_id": f"{request}-{place}-{shadow}",
                "request_id": request,
                "entity": json.dumps({"test_id": name}),
                "at": world.now,
                "digest": digest,
                "score": score,
                "decision": int(score >= 0.5),
                "task": "",
                "latency_ms": 9.0 if shadow else 3.0,
                "shadow": shadow,
            }
        )


def both(world, status, request: str, champion, candidate, entities=None) -> None:
    answer(world, status.champion.digest, request, champion, entities=entities)
    answer(world, status.candidate.digest, request, candidate, shadow=True, entities=entities)


@pytest.fixture
def shadowed(world):
    world.release_first()
    status = world.passes(world.open_second().release_id, 2)
    assert status.phase is Phase.SHADOW
    return status


def test_pairs_by_request_and_entity(world, shadowed):
    both(world, shadowed, "a", [0.1, 0.9], [0.2, 0.1])
    both(world, shadowed, "b", [0.3], [0.3])
    answer(world, shadowed.champion.digest, "c", [0.9])
    answer(world, "another digest", "d", [0.9], shadow=True)
    world.sleep(10)
    answer(world, shadowed.champion.digest, "on its way", [0.9])
    found = observe_shadow(shadowed, world.predictions, world.now)
    assert (found.changed.value, found.changed.rows, found.changed.requests) == (0.25, 3, 2)
    assert found.unanswered == 1
    assert (found.champion_latency.p95_ms, found.candidate_latency.p95_ms) == (3.0, 9.0)
    assert found.examples[0].entity == '{"test_id": "t1"}'


def test_rows_without_a_name_are_paired_by_place(world, shadowed):
    both(world, shadowed, "a", [0.1, 0.9, 0.2], [0.1, 0.9, 0.2], entities=["same"] * 3)
    found = observe_shadow(shadowed, world.predictions, world.now)
    assert (found.changed.rows, found.shift.largest) == (3, 0.0)


def leave_shadow(world, status):
    world.say(status, IntentKind.ABORT)
    return world.passes(status.release_id)


def test_ledger_keeps_what_the_candidate_would_have_said(world, shadowed):
    both(world, shadowed, "a", [0.1, 0.9], [0.2, 0.1])
    leave_shadow(world, shadowed)
    kept = [row.entry for row in world.store.ledger.rows() if "shadow" in row.entry.payload]
    assert [one.kind for one in kept] == ["release.aborting"]
    assert kept[0].payload["shadow"]["changed"]["value"] == 0.5
    assert verify(world.store.ledger.rows()) is None
    ended = world.passes(shadowed.release_id, 3)
    found = shadow_of(ended, world.predictions, world.store.ledger, world.now + timedelta(days=1))
    assert found.examples[0].candidate == 0.1


def test_going_on_to_canary_keeps_it_too(world, shadowed):
    both(world, shadowed, "a", [0.9], [0.8])
    for _ in range(14):
        world.serve(200, 200)
        status = world.passes(shadowed.release_id, seconds=300)
        if status.phase is Phase.CANARY:
            break
    kept = [row.entry for row in world.store.ledger.rows() if "shadow" in row.entry.payload]
    assert [one.kind for one in kept] == ["release.canary"]
    assert kept[0].payload["shadow"]["changed"]["value"] == 0.0


def test_unreadable_log_holds_up_nothing(world, shadowed, monkeypatch):
    def torn(model, since=None):
        raise MalformedInput("the log is torn", hint="")

    monkeypatch.setattr(world.predictions, "read", torn)
    status = leave_shadow(world, shadowed)
    assert status.phase is Phase.ABORTING
    with pytest.raises(ReleaseError, match="torn"):
        shadow_of(status, world.predictions, world.store.ledger, world.now)


def test_release_that_never_was_in_shadow_says_so(world):
    first = world.release_first()
    with pytest.raises(ReleaseError, match="not been in SHADOW"):
        shadow_of(first, world.predictions, world.store.ledger, world.now)


def test_command(world, shadowed, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PERENNIAL_HOME", str(tmp_path / "home"))
    both(world, shadowed, "a", [0.1, 0.9], [0.2, 0.1])
    monkeypatch.setattr("perennial.wiring.releasing.prediction_log", lambda settings: world.predictions)
    monkeypatch.setattr("perennial.wiring.database.store", lambda settings: world.store)
    assert main(["release", "shadow", MODEL]) == 0
    told = capsys.readouterr().out
    assert "50.00%" in told
    assert '{"test_id": "t1"}' in told
    assert main(["release", "shadow", MODEL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"]["requests"] == 1


@pytest.mark.parametrize(("lost", "ends"), [(30, Phase.SHADOW), (0, Phase.ROLLED_BACK)])
def test_copies_of_requests_that_nobody_could_answer_are_no_fault_of_the_candidate(
    world, shadowed, lost, ends
):
    """In SHADOW the candidate fails what the champion answered, or it fails nothing."""
    for _ in range(12):
        world.router.answered(MODEL, "canary", 400, errors=30)
        world.router.answered(MODEL, "stable", 400, lost=lost)
        status = world.passes(shadowed.release_id, 1, 61)
    status = world.passes(shadowed.release_id)
    assert status.phase is ends, status.note
