"""Who may mark a model version how."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perennial.core.governance.identity import Role
from perennial.core.governance.registry_rules import (
    FIXED,
    alias_refusal,
    creation_refusal,
    form_refusal,
    model_refusal,
    record,
    tag_refusal,
)
from perennial.core.version import Lifecycle, SemanticVersion

NOBODY_ELSE = [role for role in Role if role is not Role.APPROVER]


@pytest.mark.parametrize("value", ["approved", "rejected", "approved 12345678", "waiting", "maybe", None])
@pytest.mark.parametrize("role", list(Role))
def test_the_approval_is_the_approvers(role, value):
    allowed = role is Role.APPROVER or (role is Role.RELEASE and value == "waiting")
    assert (tag_refusal({role}, "approval", value, {}) == "") is allowed


@given(
    st.sampled_from(["by.ann", "by.", "", "x", "by.ann "]),
    st.sampled_from(["approval.", "Approval.", " approval.", "APPROVAL."]),
    st.sets(st.sampled_from(list(Role))),
    st.sampled_from(["approved " + "d" * 64, None]),
)
def test_nobody_writes_what_the_server_writes(rest, prefix, roles, value):
    assert tag_refusal(roles, prefix + rest, value, {})
    assert creation_refusal(roles, prefix + rest)


@pytest.mark.parametrize("key", ["Approval", "approval ", " approval", "APPROVAL"])
def test_no_second_spelling_of_the_approval(key):
    assert tag_refusal(set(Role), key, "approved", {})
    assert creation_refusal(set(Role), key)


@pytest.mark.parametrize(
    "key",
    ["gate.roc_auc", "gate.risk", "release", "release.phase", "release.why", "lifecycle.reason", "files"],
)
def test_evidence_is_the_release_machines(key):
    assert tag_refusal({Role.RELEASE}, key, "PASS", {}) == ""
    assert all(tag_refusal({role}, key, "PASS", {}) for role in Role if role is not Role.RELEASE)
    assert creation_refusal(set(Role), key)


@pytest.mark.parametrize("key", sorted(FIXED))
@pytest.mark.parametrize("role", list(Role))
def test_what_a_version_is_never_changes(role, key):
    assert tag_refusal({role}, key, "new", {key: "old"})
    assert tag_refusal({role}, key + " ", "new", {key: "old"}), "some databases see no difference"
    assert tag_refusal({role}, key, None, {key: "old"})
    assert tag_refusal({role}, key, "old", {key: "old"}) == ""
    assert tag_refusal({role}, key, "new", {}), "nor does it come later"
    assert tag_refusal({role}, key.title(), "new", {})
    assert (creation_refusal({role}, key) == "") is (role is Role.TRAINING)


def test_an_operator_cannot_lower_the_risk():
    """The gate compares these with the champion's, and asks fewer people where they are the same."""
    told = {"architecture": "transformer", "features_hash": "g", "data_checks": "failed", "data.source": "x"}
    for role in (Role.OPERATOR, Role.TRAINING, Role.APPROVER, Role.RELEASE, Role.ADMIN):
        for key in told:
            assert tag_refusal({role}, key, "as the champion", told)
            assert tag_refusal({role}, key, None, told)


@pytest.mark.parametrize("role", list(Role))
def test_lifecycle_words_are_a_closed_set_and_follow_releases(role):
    """`purge` deletes the files of versions that are archived: an operator must not archive one by its tag."""
    words = {
        word
        for word in (*Lifecycle, "Archived", "live", "", None)
        if not tag_refusal({role}, "lifecycle", word, {})
    }
    allowed = {Role.RELEASE: set(Lifecycle), Role.TRAINING: {Lifecycle.STAGING}}
    assert words == allowed.get(role, set())
    for spelling in ("Lifecycle", "lifecycle ", "LIFECYCLE"):
        assert tag_refusal({role}, spelling, "archived", {})
    assert (creation_refusal({role}, "lifecycle") == "") is (role is Role.TRAINING)


def test_machines_write_no_other_names():
    for role in (Role.TRAINING, Role.RELEASE):
        assert "none that Perennial knows" in tag_refusal({role}, "gate_roc_auc", "x", {})
        assert "none that Perennial knows" in creation_refusal({role}, "team.note")
    assert tag_refusal({Role.OPERATOR}, "team.note", "x", {}) == ""


@pytest.mark.parametrize("role", list(Role))
def test_a_reproduction_is_told_by_training_alone(role):
    assert (tag_refusal({role}, "reproduction", "same", {}) == "") is (role is Role.TRAINING)


def test_other_tags_are_free():
    assert tag_refusal({Role.TRAINING}, "lifecycle", "staging", {"lifecycle": "development"}) == ""
    assert tag_refusal({Role.OPERATOR}, "gateway", "x", {}) == ""
    assert tag_refusal(set(), "approvals", "x", {}) == ""


@pytest.mark.parametrize("role", list(Role))
def test_aliases_follow_the_traffic(role):
    assert (alias_refusal({role}, "champion") == "") is (role is Role.RELEASE)
    assert (alias_refusal({role}, "Previous") == "") is (role is Role.RELEASE)
    assert (alias_refusal({role}, "candidate") == "") is (role in (Role.RELEASE, Role.TRAINING))
    assert alias_refusal({role}, "best-of-may") == ""


def test_the_record_names_account_digest_and_time():
    at = datetime(2026, 1, 5, 8, 0, 0, 123, tzinfo=UTC)
    assert record("ann", "approved", "d1", at) == ("approval.by.ann", "approved d1 2026-01-05T08:00:00+00:00")


@given(
    st.from_regex(r"\d{1,12}(\.\d{1,12}){1,3}", fullmatch=True)
    | st.sampled_from(["1.02.0", "\u0661.0.0", "1.0.0\n"])
)
def test_a_number_that_is_accepted_can_be_read(number):
    if not form_refusal({"semantic_version": number, "digest": "d" * 64}):
        assert str(SemanticVersion.parse(number)) == number


@pytest.mark.parametrize(
    ("name", "others", "may"),
    [("wine", ["rates"], True), ("Wine", ["wine"], False), ("wine ", [], False), ("w\u0456ne", [], False)],
)
def test_a_model_has_a_name_of_its_own(name, others, may):
    assert (model_refusal(name, others) == "") is may
