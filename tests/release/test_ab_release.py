"""An A/B release whose users are drawn: its route, its users, an alarm about its split, its outcomes."""

from __future__ import annotations

import pytest

from perennial.core.governance.reviews import Review, ReviewVerdict
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, Pause
from perennial.core.release.traffic import Assignment
from perennial.core.release_spec import FeedbackSpec
from perennial.core.tasks import Regression
from perennial.core.verdict import Verdict
from perennial.errors import DataError, UnknownRelease
from perennial.flows.experiment import gather as flow

MODEL = "test_failure_predictor"
STICKY = {"header": "x-user-id", "cookie": "unit", "cookie_age": "P1D", "experiment": None}


@pytest.fixture
def release(world):
    world.release_first()
    world.use("ab", shadow=None, sticky=STICKY)
    return world.open_second()


def predict(world, release, arm: str, users: range, decision: int = 1, experiment: str | None = None) -> None:
    world.predictions.rows += [
        {
            "prediction_id": f"{arm}-{user}", "request_id": f"r-{arm}-{user}", "at": world.now, "model": MODEL,
            "version": arm, "digest": arm, "shadow": False, "entity": "{}", "decision": decision,
            "score": float(decision), "task": "",
            "experiment": experiment or release.release_id, "arm": arm, "unit": f"u{user}",
        }
        for user in users
    ]  # fmt: skip


def rule(status):
    return next(one for one in status.evidence if one.rule == "sample_ratio")


def test_route_draws_users_with_the_salt_of_the_release(world, release):
    drawn = world.router.route(MODEL).assignment
    assert drawn == Assignment(
        experiment=release.release_id, **{k: v for k, v in STICKY.items() if k != "experiment"}
    )


def test_experiment_with_a_name_has_its_salt(world):
    world.release_first()
    world.use("canary", shadow=None, sticky={**STICKY, "experiment": "checkout"})
    world.open_second()
    assert world.router.route(MODEL).assignment.experiment == "checkout"


def test_nobody_is_drawn_where_nothing_is_split(world):
    world.release_first()
    world.use("blue_green", shadow=None)
    world.serve(0, 2000)
    world.open_second()
    assert (world.router.route(MODEL).canary_weight, world.router.route(MODEL).assignment) == (100, None)


def test_users_who_got_their_sides_pass(world, release):
    world.sleep(1)
    predict(world, release, "1.0.0", range(0, 500))
    predict(world, release, "1.1.0", range(500, 1000))
    predict(world, release, "1.1.0", range(2000, 4000), experiment="another")
    world.serve(500, 500)
    status = world.passes(release.release_id)
    assert (rule(status).verdict, status.pauses) == (Verdict.PASS, frozenset())
    assert status.units.by_variant == {"1.0.0": 500, "1.1.0": 500}


def test_proven_mismatch_pauses_for_a_person_and_the_split_stands(world, release):
    world.sleep(1)
    predict(world, release, "1.0.0", range(0, 700))
    predict(world, release, "1.1.0", range(650, 1000))
    world.serve(5000, 5000)
    status = world.passes(release.release_id)
    assert (status.phase, status.pauses) == (Phase.CANARY, {Pause.SAMPLE_RATIO})
    assert rule(status).verdict is Verdict.UNSURE
    assert "300 of 1000 users to the candidate, 50 on both sides" in rule(status).observed
    assert world.router.route(MODEL).canary_weight == 50
    status = world.passes(release.release_id, 3, 3600)
    assert (status.phase, world.kinds().count("paused")) == (Phase.CANARY, 1), "never promoted by itself"
    world.serve(50_000, 50_000, errors=5000)
    status = world.passes(release.release_id, 1, 6 * 3600)
    assert status.phase is Phase.ABORTING, "the other rules go on"


def test_after_resume_users_are_counted_anew(world, release):
    world.sleep(1)
    predict(world, release, "1.0.0", range(0, 900))
    world.serve(900, 900)
    status = world.passes(release.release_id)
    assert status.pauses == {Pause.SAMPLE_RATIO}
    world.say(status, IntentKind.RESUME)
    status = world.passes(release.release_id, 2)
    assert (status.pauses, status.units.by_variant) == (frozenset(), {})


POLICY = FeedbackSpec(sole_source="ci")


def find(world, release_id: str | None = None):
    return flow.find_experiment(MODEL, release_id, world.store.releases, world.store.ledger, world.now)


def test_values_have_no_positive_label(world, release):
    world.sleep(1)
    predict(world, release, "1.0.0", range(20))
    predict(world, release, "1.1.0", range(20, 40))
    task = Regression(unit="mg", tolerance=1.0).model_dump_json()
    world.predictions.rows = [{**row, "task": task} for row in world.predictions.rows]
    world.sleep(1)
    feedback = world.store.feedback
    feedback.put({f"1.0.0-{user}": 1.5 for user in range(20)}, world.now, "ci")
    feedback.put({f"1.1.0-{user}": 3.0 for user in range(20, 40)}, world.now, "ci")
    control, treatment = flow.gather(find(world), "right", world.predictions, feedback, POLICY).variants
    assert (control.mean, treatment.mean) == (1.0, 0.0)
    with pytest.raises(DataError, match="no positive label"):
        flow.gather(find(world), "label", world.predictions, feedback, POLICY)


def test_right_values_of_reviews_are_outcomes_where_the_spec_counts_them(world, release):
    world.sleep(1)
    predict(world, release, "1.0.0", range(20))
    predict(world, release, "1.1.0", range(20, 40))
    world.sleep(1)
    names = [f"1.1.0-{user}" for user in range(20, 40)]
    reviews = [(Review(prediction_id=name, verdict=ReviewVerdict.MODIFY, value=1.0), 1.0) for name in names]
    world.store.feedback.put_reviews(reviews, world.now, "ci", dict.fromkeys(names, MODEL))
    asked = find(world), "right", world.predictions, world.store.feedback
    assert [arm.n for arm in flow.gather(*asked, POLICY).variants] == [0, 0]
    counting = POLICY.model_copy(update={"reviews": True})
    assert [(arm.n, arm.mean) for arm in flow.gather(*asked, counting).variants][1] == (20, 1.0)


def test_outcomes_are_gathered_user_by_user(world, release):
    world.sleep(1)
    predict(world, release, "1.0.0", range(0, 40))
    predict(world, release, "1.1.0", range(40, 80))
    predict(world, release, "1.1.0", range(0, 2))  # on both sides: left out
    world.sleep(1)
    feedback = world.store.feedback
    feedback.put({f"1.0.0-{user}": float(user % 4 == 0) for user in range(40)}, world.now, "ci")
    feedback.put({f"1.1.0-{user}": 1.0 for user in range(40, 60)}, world.now, "ci")
    feedback.put_rewards({f"1.1.0-{user}": user / 10 for user in range(40, 50)}, world.now, "ci")
    experiment = find(world)
    seen = flow.gather(experiment, "right", world.predictions, feedback, POLICY)
    assert [(arm.name, arm.n, arm.total) for arm in seen.variants] == [("1.0.0", 38, 9), ("1.1.0", 20, 20)]
    assert (seen.units.by_variant, seen.units.crossed) == ({"1.0.0": 40, "1.1.0": 40}, 2)
    control, treatment = flow.gather(experiment, "reward", world.predictions, feedback, POLICY).variants
    assert (control.n, treatment.n, treatment.mean) == (0, 10, pytest.approx(4.45))
    events = flow.gather(experiment, "events", world.predictions, feedback, POLICY).variants
    assert [arm.total for arm in events] == [9, 20]
    shown = flow.running_figures(
        MODEL, world.store.releases, world.store.ledger, world.predictions, feedback, world.now, POLICY
    )
    assert [(one.version, one.users, one.accuracy, one.reward) for one in shown] == [
        ("1.0.0", 40, pytest.approx(9 / 38), None),
        ("1.1.0", 40, 1.0, pytest.approx(4.45)),
    ]


def test_what_was_never_split_cannot_be_analysed(world):
    world.release_first()
    with pytest.raises(DataError, match="no release"):
        find(world)
    with pytest.raises(UnknownRelease):
        find(world, "nonsense")
