"""A version in a running release cannot be taken out of use, and one out of use cannot be released."""

from __future__ import annotations

import pytest

from perennial.core.events import Entry
from perennial.core.governance.lifecycle import CHAMPION_ONLY, in_use
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.core.version import Lifecycle
from perennial.errors import OutOfUse

MODEL = "test_failure_predictor"


def test_candidate_and_champion_of_a_running_release_are_in_use(world):
    world.release_first()
    status = world.open_second()
    releases = world.store.releases.latest(status.model)
    for key in ("1", "2"):
        told = in_use(world.versions.records[key], None, releases, CHAMPION_ONLY)
        assert told is not None
        assert f"running release {status.release_id}" in told
    other = world.versions.add("9.0.0")
    assert in_use(other, None, releases, CHAMPION_ONLY) is None


@pytest.fixture
def three(world):
    """1.1.0 is champion, 1.0.0 was; 1.2.0 is a candidate."""
    world.release_first()
    world.say(world.open_second(), IntentKind.PROMOTE)
    assert world.passes(world.store.releases.latest(MODEL)[0].release_id, 3).phase is Phase.SUCCEEDED
    world.versions.add("1.2.0")
    return world


def take_out(world, version: str, to: Lifecycle) -> None:
    digest = world.versions.find(MODEL, version).ref.digest
    payload = {"version": version, "why": "unfair"}
    kind = f"lifecycle.{to.value}"
    world.store.ledger.append(
        Entry(at=world.now, actor="carol", kind=kind, model=MODEL, digest=digest, payload=payload)
    )


@pytest.mark.parametrize("to", [Lifecycle.RETIRED, Lifecycle.ARCHIVED])
def test_version_out_of_use_is_not_released(three, to):
    take_out(three, "1.2.0", to)
    with pytest.raises(OutOfUse, match=rf"1\.2\.0 was {to.value} by carol at .*: unfair"):
        three.start()
    assert three.store.releases.latest(MODEL)[0].candidate.version == "1.1.0"


def test_rollback_does_not_go_to_a_version_out_of_use(three):
    take_out(three, "1.0.0", Lifecycle.RETIRED)
    three.versions.down = True
    for to in (None, "1.0.0"):
        with pytest.raises(OutOfUse, match="retired by carol"):
            three.back(to)
    assert three.router.route(MODEL).stable.version == "1.1.0"


def test_what_the_machine_archived_may_come_back(three):
    status = three.start()
    three.say(status, IntentKind.REJECT)
    three.passes(status.release_id)
    assert three.versions.records["3"].tags["lifecycle"] == "archived"
    assert three.start(again=True).phase is Phase.LOADING
