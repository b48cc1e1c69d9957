"""The monitor's window: no request and no client is the window; strangers and refused requests are watched apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from doubles.growing import watched
from doubles.routing import MemoryRouter

from perennial import catalog
from perennial.core.monitoring.levels import Level, verdict
from perennial.core.release.traffic import Counters, Target
from perennial.flows.monitoring.window import RefusedTraffic
from perennial.settings import Settings

SPEC = catalog.spec("test_failure_predictor", Settings(spec_overlay=None))
POLICY = SPEC.monitoring
NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
TARGET = Target(version="1.0.0", digest="d", release_id="r")


class Log:
    def __init__(self) -> None:
        self.rows: list[dict] = []

    def add(
        self, count: int, request: str | None = None, client: str | None = None, value: float | None = 1.0
    ):
        """Rows of one request, or of a request each; the newest are the last."""
        for _ in range(count):
            number = len(self.rows)
            self.rows.append(
                {
                    "prediction_id": f"p{number}", "request_id": request or f"q{number}", "client": client,
                    "digest": "d", "shadow": False, "feature:a": value, "feature:b": None,
                }
            )  # fmt: skip

    def read(self, model, since=None):
        frame = pd.DataFrame(self.rows)
        frame["at"] = [NOW - timedelta(seconds=len(frame) - n) for n in range(len(frame))]
        return frame.astype({"feature:a": float, "feature:b": float})


def seen_in(log):
    return watched(log).rows(SPEC, TARGET.digest, None, NOW).window(NOW)


def test_one_request_of_many_rows_is_not_the_window():
    log = Log()
    log.add(1500, request="one")
    seen = seen_in(log)
    assert (len(seen.rows), seen.requests) == (POLICY.request_rows, 1)


def test_few_large_requests_give_no_verdict():
    judged = verdict(POLICY, (), None, None, POLICY.min_window, requests=POLICY.min_requests - 1)
    assert judged.level is Level.UNSURE
    assert f"{POLICY.min_requests} requests needed" in judged.reasons[0]


def test_a_client_that_floods_gets_its_share_and_no_more():
    log = Log()
    log.add(1000, client="honest")
    log.add(9000, client="flood", value=7.0)
    seen = seen_in(log)
    assert len(seen.rows) == POLICY.window
    assert seen.rows["client"].value_counts().to_dict() == {"honest": 750, "flood": 750}


def test_clients_that_are_not_known_are_not_capped():
    log = Log()
    log.add(1600)
    assert len(seen_in(log).rows) == POLICY.window


def test_strangers_are_counted_apart_and_move_no_window():
    log = Log()
    log.add(1500)
    log.add(1500, value=None)
    seen = seen_in(log)
    assert (len(seen.rows), seen.unknown) == (POLICY.window, 1.0)
    assert not np.isnan(seen.rows["a"]).any()


def test_few_large_requests_of_a_stranger_are_a_small_share():
    log = Log()
    log.add(1500)
    for number in range(3):
        log.add(4096, request=f"large{number}", client="stranger", value=None)
    share = seen_in(log).unknown
    assert share == 3 * POLICY.request_rows / POLICY.window


@pytest.mark.parametrize(
    ("share", "level"),
    [(None, Level.OK), (0.1, Level.OK), (0.3, Level.WATCH), (0.9, Level.WARN), (1.0, Level.WARN)],
)
@pytest.mark.parametrize("name", ["unknown", "refused"])
def test_shares_have_a_level_and_never_retrain(name, share, level):
    judged = verdict(POLICY, (), None, None, 1500, requests=1500, **{name: share})
    assert (judged.level, judged.causes) == (level, ())
    assert getattr(judged, f"{name}_share") == share
    if level is not Level.OK:
        assert f"{share:.0%} of the" in judged.reasons[0]


def test_refused_requests_are_those_since_the_last_look():
    router, refused = MemoryRouter(), RefusedTraffic()
    counters = {"stable": Counters(requests=1000, refused=10)}
    router.counters = lambda model: counters
    assert refused.share("m", router) == pytest.approx(0.01)
    counters["stable"] = Counters(requests=1010, refused=20)
    assert refused.share("m", router) is None, "too few say nothing"
    counters["stable"] = Counters(requests=1200, refused=110)
    assert refused.share("m", router) == pytest.approx(0.5)
