"""Accounts as they are written down, and what each role may say to a release."""

from __future__ import annotations

import pytest

from perennial.core.governance.identity import MACHINES, STEERING, Account, Role, may_steer, read_people


def test_people_are_read():
    assert read_people("ann:approver, bob-2:viewer") == (
        Account(name="ann", role=Role.APPROVER),
        Account(name="bob-2", role=Role.VIEWER),
    )
    assert read_people("") == ()


@pytest.mark.parametrize(
    "text", ["ann", "Ann:approver", "ann:king", "ann:admin", "ann:training", "a.b:viewer", "a/b:viewer",
             "ann:viewer,ann:approver", "release:approver", ":viewer"],
)  # fmt: skip
def test_what_is_no_account_is_an_error(text):
    with pytest.raises(ValueError, match=r"account|role"):
        read_people(text)


@pytest.mark.parametrize("action", sorted(STEERING))
def test_nobody_steers_but_approvers_and_who_gives_no_traffic(action):
    assert may_steer(Role.APPROVER, action)
    assert may_steer(Role.OPERATOR, action) is (
        action in ("pause", "resume", "retire", "archive", "purge", "retract")
    )
    assert not any(may_steer(role, action) for role in (Role.ADMIN, Role.VIEWER, Role.TRAINING, Role.RELEASE))


def test_machines_are_no_people():
    assert [one.role.is_person() for one in MACHINES] == [True, False, False]
