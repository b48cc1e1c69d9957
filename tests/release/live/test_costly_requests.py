"""A client that sends its costliest requests to the candidate ends no release; a real Envoy, real model servers."""

from __future__ import annotations

import http.client
import itertools
import json

import pytest
from live_releases import BODY, PATH, SHORT, LiveReleases
from tiny_models import tensor_body

from perennial import limits
from perennial.core.release.phase import Phase
from perennial.core.release.status import IntentKind, ReleaseStatus
from perennial.core.release.traffic import PoolName
from perennial.core.release_spec import Strategy
from perennial.core.verdict import Judgement, Verdict

pytestmark = pytest.mark.traffic

ATTACKER = "127.0.0.66"
COSTLY = tensor_body(rows=limits.ROWS)
STEP = {
    "steps": [{"weight": 50, "duration": "PT30M"}],
    "criteria": {**SHORT["criteria"], "latency_p95_floor_ms": 1},
}


def post(port: int, body: dict, user: str, address: str = "127.0.0.1") -> str:
    """Send a request as a user; returns the version that answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(address, 0))
    connection.request("POST", PATH, json.dumps(body), {"x-user-id": user})
    answer = connection.getresponse()
    answered = json.loads(answer.read())
    connection.close()
    assert answer.status == 200, answered
    return answered["model_version"]


def latency_rule(status: ReleaseStatus) -> Judgement:
    return next(rule for rule in status.evidence if rule.rule == "latency")


def test_costly_requests_of_one_client_end_no_release(live_releases: LiveReleases):
    live_releases.use(Strategy.CANARY, **STEP)
    port, candidate = live_releases.stack.settings.port_envoy, live_releases.challengers()[0]
    status = live_releases.start(candidate)
    live_releases.say(status, IntentKind.APPROVE)
    while status.phase is not Phase.CANARY:
        status = live_releases.walk(status)
        for number in range(30):
            post(port, BODY, f"shadowed{number}")
    # The attacker takes the first id that the candidate answers.
    user = next(
        name
        for name in map("attacker{}".format, itertools.count())
        if post(port, BODY, name, ATTACKER) == candidate.version
    )
    users = itertools.count()

    def mixed_traffic(status: ReleaseStatus) -> ReleaseStatus:
        """Send small requests of many users and costly ones of the attacker; returns the release a pass later."""
        assert status.phase is Phase.CANARY, status.evidence
        for number in itertools.islice(users, 200):
            post(port, BODY, f"user{number}", f"127.0.1.{1 + number % 8}")
            if number % 3 == 0:  # so many that they stand out among waits on a busy machine
                assert post(port, COSTLY, user, ATTACKER) == candidate.version
        return live_releases.walk(status)

    while not status.suspected_slow:  # the counters alone would end it
        status = mixed_traffic(status)
    # The first requests of a busy machine may prove nothing on the servers' log: UNSURE ends no release, it waits.
    while latency_rule(status).verdict is not Verdict.PASS:
        status = mixed_traffic(status)
    assert status.phase is Phase.CANARY
    while min(len(status.users.get(pool, {})) for pool in PoolName) < 10:  # a line may wait for a second
        status = mixed_traffic(status)
    assert status.users_problems == ()
    live_releases.say(status, IntentKind.PROMOTE)
    assert live_releases.to_end(status).phase is Phase.SUCCEEDED
