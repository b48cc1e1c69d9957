"""Two models are in canary at once on one stack: one is aborted, the other becomes champion, no request fails."""

from __future__ import annotations

import pytest
from live_releases import BODY, PATH, LiveReleases
from load_generator import Load
from serving_stack import until

from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind
from perennial.core.release_spec import Strategy

pytestmark = pytest.mark.traffic

OTHER = "defect_predictor"


def in_canary(releases: LiveReleases):
    """Start a release and walk it until the candidate answers its first share."""
    releases.use(Strategy.CANARY)
    status = releases.start(releases.challengers()[0])
    releases.say(status, IntentKind.APPROVE)
    while status.phase is not Phase.CANARY:
        assert not status.phase.is_final(), status.note
        status = releases.walk(status)
    return status


def test_one_is_aborted_and_the_other_goes_on(live_releases: LiveReleases):
    other = live_releases.beside(OTHER)
    port, champion = live_releases.stack.settings.port_envoy, other.champion
    paths = PATH, f"/v2/models/{OTHER}/infer"
    first, second = (Load(port, path, BODY, threads=2, pause_s=0.01) for path in paths)
    with first, second:
        going, aborted = in_canary(live_releases), in_canary(other)
        for releases, status in ((live_releases, going), (other, aborted)):
            assert releases.ports.router.route(releases.model).canary.digest == status.candidate.digest
        for load, status in ((first, going), (second, aborted)):
            until(lambda load=load, status=status: status.candidate.version in load.versions, 60, "an answer")
        other.say(aborted, IntentKind.ABORT)
        while not (going.phase.is_final() and aborted.phase.is_final()):
            going, aborted = live_releases.walk(going), other.walk(aborted)
    assert (going.phase, aborted.phase) == (Phase.SUCCEEDED, Phase.ROLLED_BACK), (going.note, aborted.note)
    assert live_releases.champion.digest == going.candidate.digest
    assert (other.champion, other.ports.router.route(OTHER).canary) == (champion, None)
    assert (first.failed, second.failed) == (0, 0), (first.failures, second.failures)
