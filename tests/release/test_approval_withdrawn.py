"""Who takes an approval back in MLflow while people are still asked is counted no more."""

from __future__ import annotations

import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.core.governance.ledger import verify
from perennial.core.release.approval import BY, TAG, WAITING
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind

MODEL = "test_failure_predictor"


@pytest.fixture
def one_of_two(world):
    """carol approved in MLflow and was counted; another person is needed."""
    world.approvers(2)
    world.versions.add("1.0.0")
    status = world.start()
    approve(world, "carol")
    status = world.passes(status.release_id)
    assert "1 of 2: carol" in status.approval_progress
    world.release_id = status.release_id
    return world


def approve(world, account: str) -> None:
    record = world.versions.records["1"]
    said = f"approved {record.ref.digest} {world.now.isoformat()}"
    world.versions.tag(MODEL, "1", {TAG: "approved", f"{BY}{account}": said})


def take_back(world, account: str) -> None:
    """What MLflow's server does when the person writes `waiting`."""
    record = world.versions.records["1"]
    tags = {name: value for name, value in record.tags.items() if name != f"{BY}{account}"}
    world.versions.records["1"] = record.model_copy(update={"tags": {**tags, TAG: WAITING}})


def test_taken_back_it_counts_no_more_and_the_ledger_says_so_once(one_of_two):
    world = one_of_two
    take_back(world, "carol")
    status = world.passes(world.release_id, 3)
    assert (status.phase, status.approvals) == (Phase.AWAITING_APPROVAL, ())
    assert "0 of 2" in status.note
    said = [one.entry for one in world.store.ledger.rows() if one.entry.kind == "release.approval_withdrawn"]
    assert [(one.actor, one.payload["channel"]) for one in said] == [("carol", "mlflow")]
    assert verify(world.store.ledger.rows()) is None


@pytest.mark.parametrize("channel", ["cli", "mlflow"])
def test_the_next_person_is_not_added_to_one_who_took_it_back(one_of_two, channel):
    world = one_of_two
    take_back(world, "carol")
    if channel == "cli":
        world.say(world.store.releases.load(world.release_id), IntentKind.APPROVE, actor="dave")
    else:
        approve(world, "dave")
    status = world.passes(world.release_id, 2)
    assert status.phase is Phase.AWAITING_APPROVAL
    assert "1 of 2: dave" in status.approval_progress
    approve(world, "carol")
    assert world.passes(world.release_id).phase is Phase.LOADING, "carol came back"


def test_a_registry_that_does_not_answer_takes_nothing_back(one_of_two):
    world = one_of_two
    world.versions.down = True
    assert len(world.passes(world.release_id, 2).approvals) == 1
    world.versions.down = False
    assert len(world.passes(world.release_id).approvals) == 1


def test_tags_take_back_only_what_tags_gave(one_of_two):
    world = one_of_two
    take_back(world, "carol")
    world.say(world.store.releases.load(world.release_id), IntentKind.APPROVE, actor="dave")
    assert [one.actor for one in world.passes(world.release_id, 3).approvals] == ["dave"]


def test_killed_before_it_was_saved_it_is_written_down_once(one_of_two, monkeypatch):
    world = one_of_two
    take_back(world, "carol")

    def dies(*args):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(world.store.releases, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            world.passes(world.release_id)
    assert world.passes(world.release_id, 2).approvals == ()
    assert world.kinds().count("approval_withdrawn") == 1


PEOPLE = st.sampled_from(["bob", "carol", "dave"])
SAID = st.lists(
    st.one_of(
        st.tuples(st.just("approve"), PEOPLE),
        st.tuples(st.just("take back"), PEOPLE),
        st.tuples(st.just("cli"), PEOPLE),
        st.tuples(st.just("pass"), st.booleans()),  # whether MLflow answers
    ),
    max_size=15,
)


@settings(max_examples=examples(60), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(said=SAID, needed=st.integers(2, 3))
def test_whoever_took_it_back_never_helps_a_candidate_to_traffic(make_world, said, needed):
    world = make_world()
    world.approvers(needed)
    world.versions.add("1.0.0")
    status = world.start()
    for what, who in said:
        if what == "approve":
            approve(world, who)
        elif what == "take back":
            take_back(world, who)
        elif what == "cli":
            world.say(status, IntentKind.APPROVE, actor=who)
        elif status.phase is Phase.AWAITING_APPROVAL:
            world.versions.down = not who
            status = world.passes(status.release_id)
            world.versions.down = False
            tags = world.versions.records["1"].tags
            gone = [
                one for one in status.approvals if one.channel == "mlflow" and f"{BY}{one.actor}" not in tags
            ]
            assert not (who and gone)
    assert world.router.route(MODEL) is None
    assert (status.phase is Phase.LOADING) == (len({one.actor for one in status.approvals}) >= needed)
