"""A release from its start to its end, over fakes."""

from __future__ import annotations

import pytest

from perennial.core.governance.ledger import verify
from perennial.core.release.approval import TAG
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, Pause
from perennial.core.tasks import Binary, Multiclass, Regression

MODEL = "test_failure_predictor"
HOUR = 3600


def hold(world, status, seconds: float, candidate: int = 4000, champion: int = 9000):
    """Let a step's time go by with healthy traffic."""
    world.serve(candidate, champion)
    return world.passes(status.release_id, 1, seconds)


def test_first_champion_waits_for_a_person_then_gets_everything(world):
    world.versions.add("1.0.0")
    status = world.start()
    assert status.phase is Phase.AWAITING_APPROVAL
    assert world.router.route(MODEL) is None
    world.say(status, IntentKind.APPROVE)
    status = world.passes(status.release_id, 4)
    assert status.phase is Phase.SUCCEEDED
    route = world.router.route(MODEL)
    assert (route.stable.version, route.canary) == ("1.0.0", None)
    assert world.versions.aliases == {"champion": "1"}
    assert world.versions.records["1"].tags["lifecycle"] == "production"
    assert world.candidates() == []
    assert world.kinds() == [
        "opened", "gated", "awaiting_approval", "approved", "loading", "promoting", "succeeded",
    ]  # fmt: skip
    assert verify(world.store.ledger.rows()) is None


def test_second_goes_through_shadow_and_steps(world):
    world.release_first()
    status = world.open_second()
    assert status.phase is Phase.SHADOW
    assert world.router.route(MODEL).mirror
    for phase, step, weight, hours in [
        (Phase.CANARY, 0, 5, 1),
        (Phase.CANARY, 1, 20, 6),
        (Phase.CANARY, 2, 50, 12),
    ]:
        status = hold(world, status, hours * HOUR)
        assert (status.phase, status.step) == (phase, step)
        assert world.router.route(MODEL).canary_weight == weight
    status = hold(world, status, 24 * HOUR)
    assert status.phase is Phase.PROMOTING
    status = world.passes(status.release_id, 2)
    assert status.phase is Phase.SUCCEEDED
    assert world.versions.aliases == {"champion": "2", "previous": "1"}
    assert sorted(ref.version for ref in world.pool.holds("stable")) == ["1.0.0", "1.1.0"]
    assert world.candidates() == []


def test_a_step_lasts_its_time_though_the_clock_is_set_back(world):
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    assert (status.phase, status.step) == (Phase.CANARY, 0)
    status = hold(world, status, -48 * HOUR)
    assert status.step == 0
    status = hold(world, status, 5 * HOUR)
    assert status.step == 0, "neither at once"
    status = hold(world, status, 1.1 * HOUR)
    assert status.step == 1, "nor two days later"


def test_errors_take_the_candidate_back(world):
    world.release_first()
    status = world.open_second()
    status = hold(world, status, HOUR)
    world.serve(200, 4000, errors=60)
    status = world.passes(status.release_id)
    assert status.phase is Phase.ABORTING
    assert world.router.route(MODEL).canary is None
    status = world.passes(status.release_id)
    assert status.phase is Phase.ROLLED_BACK
    assert "error_rate" in status.note
    assert world.candidates() == []
    assert world.versions.aliases["champion"] == "1"
    assert world.versions.records["2"].tags["lifecycle"] == "archived"


def test_slow_candidate_is_taken_back(world):
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    world.serve(300, 4000, latency_ms=500.0)
    world.log_timings(status.candidate.digest, 300, 500.0)
    world.log_timings(status.champion.digest, 4000, 5.0)
    assert "latency" in world.passes(status.release_id, 1, 5 * HOUR).note


def test_costly_requests_to_the_candidate_take_nothing_back(world):
    """One client sends its largest requests to the candidate; a like request is as fast on both sides."""
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    for _ in range(3):
        world.serve(300, 4000)
        world.serve(40, latency_ms=500.0)
        for client in "abcd":
            world.log_timings(status.candidate.digest, 75, 5.0, client=client)
            world.log_timings(status.champion.digest, 1000, 5.0, client=client)
        world.log_timings(status.candidate.digest, 40, 500.0, rows=4096, client="attacker")
        status = world.passes(status.release_id)
        assert status.phase is Phase.CANARY, status.note
    assert "it got more of the costly ones" in next(
        rule.observed for rule in status.evidence if rule.rule == "latency"
    )


def test_slowness_that_the_servers_do_not_log_pauses_the_release(world):
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    world.serve(300, 4000, latency_ms=500.0)
    world.log_timings(status.candidate.digest, 300, 5.0)
    world.log_timings(status.champion.digest, 4000, 5.0)
    status = world.passes(status.release_id, 3, 24 * HOUR)
    assert (status.phase, status.pauses) == (Phase.CANARY, {Pause.UNSURE})
    assert world.router.route(MODEL).canary_weight > 0


def answer(world, digest: str, request: str, right: bool, shadow: bool = False) -> None:
    """One logged prediction, a moment after the last; its label comes at once, unless it was mirrored."""
    world.sleep(0.05)
    name = f"{request}-{digest[:6]}"
    world.predictions.rows.append(
        {
            "prediction_id": name,
            "request_id": request,
            "entity": '{"test_id": "a"}',
            "at": world.now,
            "digest": digest,
            "score": 1.0 if right else 0.0,
            "decision": 1 if right else 0,
            "task": "",
            "shadow": shadow,
        }
    )
    if not shadow:
        world.store.feedback.put({name: 1.0}, world.now, "ci")


def test_wrong_candidate_is_taken_back(world):
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    for number in range(1500):
        answer(world, status.candidate.digest, f"a{number}", right=number % 3 != 0)
        answer(world, status.champion.digest, f"b{number}", right=True)
    assert "accuracy" in world.passes(status.release_id, 2).note


@pytest.mark.parametrize(
    ("task", "right", "wrong", "label"),
    [
        (Binary(threshold=0.5, positive="a", negative="b"), (0.1, 0), (0.9, 1), 0.0),
        (Multiclass(classes=("a", "b", "c")), (0.6, 2), (0.9, 1), 2.0),
        (Regression(unit="mg", tolerance=2.0), (101.5, -1), (103.0, -1), 100.0),
    ],
    ids=lambda value: getattr(value, "kind", None),
)
def test_wrong_candidate_of_any_kind_is_taken_back(world, task, right, wrong, label):
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    for number in range(1500):
        for side, (score, decision) in (
            (status.candidate.digest, wrong if number % 3 == 0 else right),
            (status.champion.digest, right),
        ):
            name = f"{side[:6]}{number}"
            answer(world, side, name, right=True)
            world.predictions.rows[-1] |= {
                "score": score, "decision": decision, "task": task.model_dump_json(),
            }  # fmt: skip
            world.store.feedback.put({world.predictions.rows[-1]["prediction_id"]: label}, world.now, "ci")
    assert "accuracy" in world.passes(status.release_id, 2).note


def test_shadow_is_judged_by_the_answers_of_the_champion(world):
    world.release_first()
    status = world.open_second()
    for number in range(1500):
        answer(world, status.champion.digest, f"a{number}", right=True)
        answer(world, status.candidate.digest, f"a{number}", right=number % 3 != 0, shadow=True)
    assert "accuracy" in world.passes(status.release_id, 2).note


def test_labels_of_few_requests_abort_nobody(world):
    """Many wrong labels in a handful of requests are a handful of observations."""
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    for number in range(1500):
        answer(world, status.candidate.digest, f"a{number % 6}", right=number % 3 != 0)
        answer(world, status.champion.digest, f"b{number % 6}", right=True)
    assert world.passes(status.release_id, 2).phase is Phase.CANARY


def test_no_traffic_is_unsure_then_asks_a_person_then_resumes(world):
    world.release_first()
    status = world.open_second()
    status = world.passes(status.release_id, 1, HOUR)
    assert (status.phase, status.pauses) == (Phase.SHADOW, frozenset())
    status = world.passes(status.release_id, 1, 24 * HOUR)
    assert status.pauses == {Pause.UNSURE}
    assert world.passes(status.release_id, 3).phase is Phase.SHADOW
    world.say(status, IntentKind.RESUME)
    status = world.passes(status.release_id)
    assert (status.pauses, status.entered_at) == (frozenset(), world.now)
    assert hold(world, status, HOUR).phase is Phase.CANARY


def test_bad_candidate_is_taken_back_though_paused(world):
    world.release_first()
    status = hold(world, world.open_second(), HOUR)
    world.say(status, IntentKind.PAUSE)
    assert world.passes(status.release_id).pauses == {Pause.PERSON}
    world.serve(200, 4000, errors=100)
    assert world.passes(status.release_id, 2).phase is Phase.ROLLED_BACK


def test_promote_skips_the_rest_and_abort_takes_back(world):
    world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.PROMOTE)
    assert world.passes(status.release_id, 3).phase is Phase.SUCCEEDED
    world.versions.add("1.2.0")
    third = world.start()
    third = hold(world, world.passes(third.release_id), HOUR)
    world.say(third, IntentKind.ABORT)
    assert world.passes(third.release_id, 2).phase is Phase.ROLLED_BACK
    assert world.router.route(MODEL).stable.version == "1.1.0"


def test_promote_without_approval_is_refused(world):
    world.versions.add("1.0.0")
    status = world.start()
    world.say(status, IntentKind.PROMOTE)
    assert world.passes(status.release_id).phase is Phase.AWAITING_APPROVAL
    assert world.router.route(MODEL) is None
    assert world.kinds()[-1] == "intent_refused"


def test_approval_of_another_digest_is_refused(world):
    world.versions.add("1.0.0")
    status = world.start()
    world.say(status, IntentKind.APPROVE, digest="0" * 64)
    assert world.passes(status.release_id).phase is Phase.AWAITING_APPROVAL


@pytest.mark.parametrize(
    ("value", "phase"),
    [
        ("approved", Phase.LOADING),
        ("rejected", Phase.REJECTED),
        ("approved 00000000", Phase.AWAITING_APPROVAL),
    ],
)
def test_tag_in_the_registry_decides(world, value, phase):
    world.approvers(1, anonymous_tag=True)
    record = world.versions.add("1.0.0", **{TAG: "approved"})
    status = world.start()
    assert status.phase is Phase.AWAITING_APPROVAL, "what stood there before the gate counts for nothing"
    world.versions.tag(MODEL, record.ref.key, {TAG: value})
    assert world.passes(status.release_id).phase is phase


def test_approval_lapses_before_traffic(world):
    world.release_first()
    world.pool.slow.add(world.versions.add("1.1.0").ref.digest)
    world.pool.slow.clear()
    status = world.start()
    assert status.phase is Phase.LOADING
    world.pool.slow.add(status.candidate.digest)
    status = world.passes(status.release_id, 1, 8 * 24 * HOUR)
    assert status.phase is Phase.AWAITING_APPROVAL


def test_failed_gate_rejects_and_tells_why(world):
    record = world.versions.add("1.0.0", data_checks="failed")
    status = world.start()
    assert status.phase is Phase.REJECTED
    assert world.versions.records[record.ref.key].tags["gate.data_checks"].startswith("FAIL")
    assert world.candidates() == []
    assert world.start().release_id == status.release_id
    assert world.start(again=True).release_id != status.release_id


def test_a_candidate_that_was_compared_with_a_former_champion_is_rejected(world):
    """Better than 1.0.0, evaluated before 1.1.0 was promoted: nobody knows whether it is better than that."""
    first = world.release_first()
    status = world.open_second()
    world.say(status, IntentKind.PROMOTE)
    second = world.passes(status.release_id, 3)
    assert second.phase is Phase.SUCCEEDED
    world.versions.add("1.2.0")
    late = world.start(against=first.candidate.digest)
    assert late.phase is Phase.REJECTED
    assert f"champion is {second.candidate.digest[:12]}" in " ".join(late.gate.failures)
    world.back()
    world.settle()
    again = world.start("1.2.0", again=True, against=second.candidate.digest)
    assert again.phase is Phase.REJECTED, "a rollback makes another champion, too"


def test_newer_candidate_supersedes(world):
    world.release_first()
    old = hold(world, world.open_second(), HOUR)
    world.versions.add("1.2.0")
    new = world.start()
    new = world.passes(new.release_id, 3)
    assert world.store.releases.load(old.release_id).phase is Phase.SUPERSEDED
    assert new.phase is Phase.SHADOW
    assert world.candidates() == ["1.2.0"]


def test_newer_candidate_that_fails_its_gate_disturbs_nobody(world):
    world.release_first()
    live = hold(world, world.open_second(), HOUR)
    routed = world.router.route(MODEL)
    world.versions.add("1.2.0", data_checks="failed")
    assert world.start().phase is Phase.REJECTED
    assert world.router.route(MODEL) == routed
    assert hold(world, live, 6 * HOUR).step == 1
