"""Approvals: which count, how many are needed, what a tag says; as tables and as a property."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from perennial.core.events import SystemActor
from perennial.core.release import approval
from perennial.core.release.approval import (
    BY,
    Approval,
    Risk,
    TagAnswer,
    automatic,
    people,
    progress,
    read_tag,
    refusal,
    registry_answers,
    required,
    valid_approvals,
)
from perennial.core.release_spec import ApprovalSpec
from perennial.core.training.capsule import seal

NOW = datetime(2026, 1, 5, tzinfo=UTC)
WEEK = timedelta(days=7)
DIGEST = "0123456789abcdef" * 4
SPEC = ApprovalSpec(low_risk=0, medium_risk=1, high_risk=2, lapses_after=WEEK, anonymous_tag=False)


def by(actor: str, at: datetime = NOW, digest: str = DIGEST) -> Approval:
    return Approval(digest=digest, actor=actor, at=at, channel="cli")


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, TagAnswer.NONE),
        ("", TagAnswer.NONE),
        (approval.WAITING, TagAnswer.NONE),
        ("approved", TagAnswer.APPROVED),
        (" Approved  ", TagAnswer.APPROVED),
        (f"approved {DIGEST[:8]}", TagAnswer.APPROVED),
        (f"approved {DIGEST.upper()}", TagAnswer.APPROVED),
        (f"approved {DIGEST[:7]}", TagAnswer.OTHER_DIGEST),
        ("approved ffffffff", TagAnswer.OTHER_DIGEST),
        ("approved by me", TagAnswer.UNREADABLE),
        ("rejected", TagAnswer.REJECTED),
        ("rejected: too slow", TagAnswer.UNREADABLE),
        ("yes", TagAnswer.UNREADABLE),
    ],
)
def test_approval_tag(value, answer):
    assert read_tag(value, DIGEST) is answer


@pytest.mark.parametrize(("risk", "needed"), [(Risk.LOW, 0), (Risk.MEDIUM, 1), (Risk.HIGH, 2)])
def test_approvers_by_risk(risk, needed):
    assert required(SPEC, risk) == needed
    given = automatic(SPEC, risk, DIGEST, NOW)
    assert (given is not None) == (needed == 0)
    assert given is None or given.actor == "policy"


@pytest.mark.parametrize(
    "changes",
    [
        {"low_risk": 2},
        {"medium_risk": 3},
        {"high_risk": -1},
        {"high_risk": 11},
        {"anonymous_tag": True},
        {"high_risk": "person"},
    ],
)
def test_policy_that_makes_no_sense(changes):
    with pytest.raises(ValidationError):
        ApprovalSpec.model_validate(SPEC.model_dump() | changes)


def test_one_anonymous_approver_is_a_policy_of_its_own():
    ApprovalSpec.model_validate(SPEC.model_dump() | {"high_risk": 1, "anonymous_tag": True})


@pytest.mark.parametrize(
    ("actor", "counts"),
    [
        ("carol", True),
        ("alice", False),
        (" Alice ", False),
        ("bob", False),
        ("BOB", False),
        ("dave", False),
        ("", False),
        ("mlflow", False),
        ("Airflow", False),
        ("policy", False),
    ],
)
def test_who_may_approve_after_alice_when_bob_and_dave_asked(actor, counts):
    assert (refusal(actor, [by("alice")], ("bob", "dave")) == "") == counts


def test_approval_is_of_one_digest_and_lapses():
    given = [by("alice"), by("bob", digest="f" * 64), by("carol", NOW + timedelta(days=1))]
    assert [one.actor for one in valid_approvals(given, DIGEST, SPEC, NOW + WEEK)] == ["alice", "carol"]
    late = NOW + WEEK + timedelta(seconds=1)
    assert [one.actor for one in valid_approvals(given, DIGEST, SPEC, late)] == ["carol"]


@pytest.mark.parametrize(
    ("approvals", "needed", "asked_by", "told"),
    [
        (("alice",), 2, ("bob",), "1 of 2: alice; still needs 1 more, not bob (who asked)"),
        ((), 1, (), "0 of 1; still needs 1"),
        ((), 2, ("bob", "Bob", "monitor", "dave"), "0 of 2; still needs 2, not Bob or dave (who asked)"),
        (("alice", "carol"), 2, ("bob",), "2 of 2: alice, carol"),
    ],
)
def test_progress_in_words(approvals, needed, asked_by, told):
    assert progress([by(one) for one in approvals], needed, asked_by) == told


def test_parts_of_the_system_are_no_people():
    assert people(("monitor", "ann", "", "schedule", "ANN")) == ("ANN",)


@pytest.mark.parametrize(
    ("value", "heard"),
    [
        (f"approved {DIGEST} 2026-01-05T00:00:00Z", TagAnswer.APPROVED),
        (f"rejected {DIGEST} 2026-01-05T01:00:00+01:00", TagAnswer.REJECTED),
        (f"approved {DIGEST} 2026-01-04T23:59:59+00:00", None),
        (f"approved {DIGEST} 2026-01-05T00:00:00", None),
        (f"approved {DIGEST}", None),
        (f"waiting {DIGEST} 2026-01-05T00:00:00Z", None),
        (f"approved {DIGEST} yesterday", None),
        ("", None),
    ],
)
def test_what_the_server_says_of_an_account(value, heard):
    found = registry_answers(
        {f"{BY}ann.b": value, "approval": "approved", "lifecycle": "x"}, NOW + timedelta(milliseconds=900)
    )
    assert [(one.account, one.answer) for one in found] == ([("ann.b", heard)] if heard else [])


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ann", "Ann", "bob", "carol", "dave", "mlflow", ""]),
            st.integers(-10, 0),
            st.booleans(),
        ),
        max_size=12,
    ),
    st.integers(1, 4),
)
def test_enough_means_so_many_people_of_this_digest_in_time_and_none_who_asked(words, needed):
    """Whatever is said in whatever order, taken one by one as the machine takes it."""
    stand: tuple[Approval, ...] = ()
    for actor, days, right in words:
        one = by(actor, NOW + timedelta(days=days), DIGEST if right else "f" * 64)
        if one.valid(DIGEST, SPEC, NOW) and not refusal(actor, stand, ("ann",)):
            stand = valid_approvals((*stand, one), DIGEST, SPEC, NOW)
    entitled = {
        actor.casefold()
        for actor, days, right in words
        if right and days >= -7 and actor.casefold() not in ("ann", "mlflow", "")
    }
    assert {one.actor for one in stand} == entitled
    assert len(stand) == len(entitled)
    assert (len(stand) >= needed) == (len(entitled) >= needed)
    assert ("still needs" in progress(stand, needed, ("ann",))) == (len(entitled) < needed)


SEALED = st.tuples(st.text(), st.dictionaries(st.text(), st.text(), max_size=3))


@given(SEALED, SEALED)
def test_seal_differs_when_anything_under_it_does(one, other):
    assert (seal(*one) == seal(*other)) == (one == other)


@pytest.mark.parametrize("actor", [*SystemActor, " Guard ", "ACCOUNTS", ""])
def test_no_part_of_the_system_approves(actor):
    assert "is no account of a person" in refusal(actor, (), ())
