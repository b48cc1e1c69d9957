"""The answers by bucket of users in the status of a release: those of its step, each counted once."""

from __future__ import annotations

import pytest

from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, ReleaseStatus
from perennial.errors import StoreUnavailable
from perennial.flows.release.reconcile import reconcile

MODEL = "test_failure_predictor"


def in_canary(world) -> ReleaseStatus:
    world.release_first()
    world.use("canary", shadow=None)
    status = world.open_second()
    assert status.phase is Phase.CANARY
    return status


def counts(status: ReleaseStatus) -> dict[str, tuple[int, int]]:
    return {
        f"{pool}.{bucket}": (each.requests, each.errors)
        for pool, buckets in status.users.items()
        for bucket, each in buckets.items()
    }


def test_a_step_counts_its_users_and_the_next_begins_anew(world):
    status = in_canary(world)
    assert status.users == {}
    world.router.answered_users(MODEL, "canary", "3", 10, errors=1)
    world.router.answered_users(MODEL, "stable", "0", 50)
    world.serve(10, 50, errors=1)
    status = world.passes(status.release_id)
    world.router.answered_users(MODEL, "canary", "3", 5)
    world.serve(5, 0)
    status = world.passes(status.release_id)
    assert counts(status) == {"canary.3": (15, 1), "stable.0": (50, 0)}
    world.serve(2000, 8000)
    step = status.step
    while status.step == step:
        status = world.passes(status.release_id, 1, 3600)
    assert (status.phase, status.users) == (Phase.CANARY, {})
    world.router.answered_users(MODEL, "canary", "7", 1)
    world.serve(1, 1)
    assert counts(world.passes(status.release_id)) == {"canary.7": (1, 0)}


def test_a_pass_that_could_not_save_counts_nothing_twice(world, monkeypatch):
    status = in_canary(world)
    world.router.answered_users(MODEL, "canary", "3", 10)
    world.serve(10, 50)

    def down(*_):
        raise StoreUnavailable("the database does not answer")

    with monkeypatch.context() as patch:
        patch.setattr(world.store.releases, "save", down)
        with pytest.raises(StoreUnavailable):
            world.passes(status.release_id)
    world.router.answered_users(MODEL, "canary", "3", 1)
    assert counts(world.passes(status.release_id)) == {"canary.3": (11, 0)}
    assert counts(reconcile(status.release_id, world.ports, world.now)) == {"canary.3": (11, 0)}


def test_a_release_that_is_resumed_begins_anew(world):
    status = in_canary(world)
    world.router.answered_users(MODEL, "canary", "3", 10)
    world.serve(10, 50)
    world.say(status, IntentKind.PAUSE)
    status = world.passes(status.release_id)
    world.say(status, IntentKind.RESUME)
    world.router.answered_users(MODEL, "canary", "3", 10)
    assert world.passes(status.release_id).users == {}


def test_a_log_that_cannot_be_read_is_told_and_stops_nothing(world, monkeypatch):
    status = in_canary(world)

    def unreadable(*_):
        raise StoreUnavailable("no log")

    world.serve(10, 50)
    with monkeypatch.context() as patch:
        patch.setattr(world.router, "answers_of_users", unreadable)
        status = world.passes(status.release_id)
    assert (status.users_problems, status.errors_in_a_row) == (("no log",), 0)
    world.router.answered_users(MODEL, "canary", "3", 10)
    assert counts(world.passes(status.release_id)) == {"canary.3": (10, 0)}
