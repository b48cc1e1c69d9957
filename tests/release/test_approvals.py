"""Who may let a candidate go, how many it takes, and what makes their word void; over fakes."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta

import pytest
from examples import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perennial.core.governance.ledger import verify
from perennial.core.release.approval import BY, TAG, WAITING
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, ReleaseStatus
from perennial.serving.manifest import MANIFEST_FILE, MODEL_FILE

MODEL = "test_failure_predictor"
DAY = 24 * 3600


@pytest.fixture
def two(world):
    """A first version, started by ann, that two people must allow."""
    world.approvers(2)
    return world


def begin(world) -> ReleaseStatus:
    world.versions.add("1.0.0")
    return world.start()


def tag(world, account: str, word: str = "approved", digest: str | None = None, at=None) -> None:
    """What MLflow's server does when a permitted person edits the tag in the page."""
    record = world.versions.records["1"]
    said = f"{word} {digest or record.ref.digest} {(at or world.now).isoformat()}"
    world.versions.tag(MODEL, "1", {TAG: word, f"{BY}{account}": said})


def tags(world) -> dict[str, str]:
    return world.versions.records["1"].tags


def refusals(world) -> list[str]:
    rows = world.store.ledger.rows()
    return [row.entry.payload["why"] for row in rows if row.entry.kind == "release.intent_refused"]


def test_two_people_through_two_channels(two):
    status = begin(two)
    assert "0 of 2; still needs 2, not ann (who asked)" in status.note
    two.say(status, IntentKind.APPROVE, actor="alice")
    status = two.passes(status.release_id)
    assert status.phase is Phase.AWAITING_APPROVAL
    assert "1 of 2: alice; still needs 1 more, not ann (who asked)" in status.note
    tag(two, "carol")
    status = two.passes(status.release_id)
    assert status.phase is Phase.LOADING
    assert [(one.actor, one.channel) for one in status.approvals] == [("alice", "cli"), ("carol", "mlflow")]
    assert {one.seal for one in status.approvals} == {status.gate.seal}
    given = [row.entry for row in two.store.ledger.rows() if row.entry.kind == "release.approved"]
    assert [(one.actor, one.digest) for one in given] == [
        ("alice", status.candidate.digest),
        ("carol", status.candidate.digest),
    ]
    assert {one.payload["seal"] for one in given} == {status.gate.seal}
    assert two.passes(status.release_id, 3).phase is Phase.SUCCEEDED
    assert verify(two.store.ledger.rows()) is None


def test_tag_goes_back_to_waiting_for_the_next_person(two):
    status = begin(two)
    tag(two, "alice")
    status = two.passes(status.release_id)
    assert (status.phase, tags(two)[TAG]) == (Phase.AWAITING_APPROVAL, WAITING)
    assert len(two.passes(status.release_id, 3).approvals) == 1, "alice's tag stays and counts once"
    tag(two, "carol")
    assert two.passes(status.release_id).phase is Phase.LOADING


def test_the_same_person_twice_is_one(two):
    status = begin(two)
    tag(two, "alice")
    two.say(status, IntentKind.APPROVE, actor="Alice")
    status = two.passes(status.release_id, 2)
    assert (status.phase, len(status.approvals)) == (Phase.AWAITING_APPROVAL, 1)
    assert "has approved it already" in refusals(two)[0]


@pytest.mark.parametrize("channel", ["cli", "mlflow"])
def test_who_asked_does_not_count(world, channel):
    """`ann` starts it; `rita` had the version registered."""
    world.versions.add("1.0.0", requested_by="Rita")
    status = world.start()
    assert status.asked_by == ("ann", "Rita")
    for actor in ("ann", "rita"):
        if channel == "cli":
            world.say(status, IntentKind.APPROVE, actor=actor)
        else:
            tag(world, actor)
    status = world.passes(status.release_id, 2)
    assert (status.phase, status.approvals) == (Phase.AWAITING_APPROVAL, ())
    assert len(refusals(world)) == 2
    assert all("somebody else must approve it" in why for why in refusals(world))
    assert channel == "cli" or tags(world)[TAG] == WAITING
    world.say(status, IntentKind.APPROVE, actor="carol")
    assert world.passes(status.release_id).phase is Phase.LOADING


def test_who_asked_may_take_it_back(two):
    status = begin(two)
    two.say(status, IntentKind.REJECT, actor="ann")
    assert two.passes(status.release_id).phase is Phase.REJECTED


def test_one_reject_ends_it(two):
    status = begin(two)
    two.say(status, IntentKind.APPROVE, actor="alice")
    two.passes(status.release_id)
    tag(two, "carol", "rejected")
    status = two.passes(status.release_id)
    assert (status.phase, status.note) == (
        Phase.REJECTED,
        f"rejected by carol (mlflow): tag {BY}carol",
    )
    assert two.store.ledger.rows()[-1].entry.actor == "carol"


def test_rejection_by_a_tag_without_account_counts(world):
    status = begin(world)
    world.versions.tag(MODEL, "1", {TAG: "rejected"})
    assert world.passes(status.release_id).phase is Phase.REJECTED


def test_approval_by_a_tag_without_account_counts_for_nobody(world):
    status = begin(world)
    world.versions.tag(MODEL, "1", {TAG: "approved"})
    status = world.passes(status.release_id, 3)
    assert status.phase is Phase.AWAITING_APPROVAL
    assert "does not say who: it counts for nobody" in status.note
    assert world.router.route(MODEL) is None


@pytest.mark.parametrize("actor", ["airflow", "mlflow", "", "policy"])
def test_approval_under_no_account_counts_for_nobody(world, actor):
    status = begin(world)
    world.say(status, IntentKind.APPROVE, actor=actor)
    assert world.passes(status.release_id).approvals == ()


def test_what_an_account_said_before_the_gate_or_of_another_digest_is_void(world):
    record = world.versions.add("1.0.0")
    tag(world, "alice", at=world.now - timedelta(minutes=1))
    tag(world, "bert", "rejected", at=world.now - timedelta(minutes=1))
    status = world.start()
    tag(world, "carol", digest="f" * 64)
    status = world.passes(status.release_id, 2)
    assert (status.phase, status.approvals) == (Phase.AWAITING_APPROVAL, ())
    assert record.ref.digest[:12] in refusals(world)[0]


def test_started_again_it_asks_again(world):
    status = begin(world)
    tag(world, "alice")
    status = world.passes(status.release_id)
    world.say(status, IntentKind.REJECT)
    assert world.passes(status.release_id).phase is Phase.REJECTED
    world.sleep(60)
    status = world.start(again=True)
    assert world.passes(status.release_id, 2).phase is Phase.AWAITING_APPROVAL


def test_each_approval_lapses_for_itself(two):
    status = begin(two)
    two.say(status, IntentKind.APPROVE, actor="alice")
    two.passes(status.release_id, 1, 5)
    status = two.passes(status.release_id, 1, 8 * DAY)
    assert status.approvals == ()
    assert two.kinds()[-1] == "approval_lapsed"
    two.say(status, IntentKind.APPROVE, actor="carol")
    two.passes(status.release_id, 1, 5)
    two.say(status, IntentKind.APPROVE, actor="alice")
    assert two.passes(status.release_id).phase is Phase.LOADING


def test_one_of_two_lapsed_while_loading_asks_for_one_more(two):
    two.release_first_by("alice", "carol")
    two.versions.add("1.1.0", architecture="new")
    status = two.start()
    two.say(status, IntentKind.APPROVE, actor="alice")
    two.passes(status.release_id, 1, 4 * DAY)
    two.say(status, IntentKind.APPROVE, actor="carol")
    two.pool.slow.add(status.candidate.digest)
    assert two.passes(status.release_id).phase is Phase.LOADING
    status = two.passes(status.release_id, 1, 4 * DAY)
    assert status.phase is Phase.AWAITING_APPROVAL
    assert "1 of 2: carol" in status.note


SEALED = ["threshold", "features", "model", "gone"]


@pytest.mark.parametrize(
    ("phase", "what"),
    [
        *((phase, what) for phase in (Phase.AWAITING_APPROVAL, Phase.LOADING) for what in SEALED),
        (Phase.AWAITING_APPROVAL, "capsule"),  # the registry is asked only while people are
    ],
)
def test_anything_sealed_that_changes_voids_the_approvals(world, phase, what):
    status = begin(world)
    if phase is Phase.LOADING:
        world.say(status, IntentKind.APPROVE)
        status = world.passes(status.release_id)
    assert status.phase is phase
    folder = world.ports.files / status.candidate.digest
    manifest = json.loads((folder / MANIFEST_FILE).read_text())
    if what == "threshold":
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest | {"threshold": 0.4}))
    elif what == "features":
        (folder / MANIFEST_FILE).write_text(json.dumps(manifest | {"features": ["b", "a"]}))
    elif what == "model":
        (folder / MODEL_FILE).write_bytes(b"another")
    elif what == "gone":
        (folder / MANIFEST_FILE).unlink()
    else:
        record = world.versions.records["1"]
        ref = record.ref.model_copy(update={"capsule": "another"})
        world.versions.records["1"] = record.model_copy(update={"ref": ref})
    status = world.passes(status.release_id)
    assert (status.phase, status.approvals) == (Phase.REJECTED, ())
    assert "changed since the gate" in status.note
    assert world.router.route(MODEL) is None


def test_nothing_is_loaded_while_its_files_cannot_be_looked_at(world):
    status = begin(world)
    world.say(status, IntentKind.APPROVE)
    status = world.passes(status.release_id)
    world.versions.down = True
    world.ports = dataclasses.replace(world.ports, files=world.ports.files / "empty")
    status = world.passes(status.release_id)
    assert (status.phase, status.errors_in_a_row) == (Phase.LOADING, 1)
    assert "MLflow is down" in status.note


WORDS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["cli", "mlflow"]), st.sampled_from(["ann", "bob", "Bob", "carol", "dave"])
        ),
        st.tuples(st.just("plain"), st.sampled_from(["approved", "waiting", "approved 00000000"])),
        st.tuples(st.just("pass"), st.sampled_from(["short", "long"])),
    ),
    max_size=12,
)


@settings(max_examples=examples(60), deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(words=WORDS, needed=st.integers(1, 3))
def test_traffic_takes_so_many_people_whatever_is_said(make_world, words, needed):
    world = make_world()
    world.approvers(needed)
    status = begin(world)
    for how, what in words:
        if how == "pass":
            world.passes(status.release_id, 1, 5 if what == "short" else 3 * DAY)
        elif how == "plain":
            world.versions.tag(MODEL, "1", {TAG: what})
        elif how == "mlflow":
            tag(world, what)
        else:
            world.say(status, IntentKind.APPROVE, actor=what)
    status = world.passes(status.release_id, 4)
    given = {one.actor.casefold() for one in status.approvals}
    assert "ann" not in given
    assert len(given) == len(status.approvals)
    assert (status.phase is Phase.SUCCEEDED) == (len(given) >= needed)
    assert (world.router.route(MODEL) is None) == (len(given) < needed)
